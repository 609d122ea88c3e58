class ShiftRegister:
    family = "compute"
    answer_type = "word"
    answer_format = "the output bits as one string of 0 and 1"
    max_level = 9

    def generate(self, rng, level):
        size = 4 + level
        state = "".join(rng.choice("01") for _ in range(size - 1)) + "1"
        taps = sorted(rng.sample(range(2, size + 1), 2))
        return {"state": state, "taps": [1, *taps], "steps": 8 + 3 * level}, {}

    def render(self, public):
        taps = " and ".join(str(tap) for tap in public["taps"])
        return (
            f"A shift register holds the bits {public['state']}; the cells are numbered from the left, starting with 1. One step does this: the "
            "rightmost bit is output; the exclusive or of the bits in cells "
            f"{taps} (as they were before the step) is computed; all bits move one cell to the right, the rightmost drops out; "
            f"the computed bit enters cell 1.\nWrite the bits that are output in {public['steps']} steps, the first one leftmost."
        )

    def reference(self, public, private):
        bits = [int(bit) for bit in public["state"]]
        output = ""
        for _ in range(public["steps"]):
            output += str(bits[-1])
            new = 0
            for tap in public["taps"]:
                new ^= bits[tap - 1]
            bits = [new] + bits[:-1]
        return output

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().replace(" ", "") == reference else 0.0
