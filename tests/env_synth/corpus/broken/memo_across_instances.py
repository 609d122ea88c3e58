def ways(stairs, jumps, memo={}):
    if stairs in memo:
        return memo[stairs]
    if stairs < 0:
        return 0
    result = 1 if stairs == 0 else sum(ways(stairs - jump, jumps, memo) for jump in jumps)
    memo[stairs] = result
    return result


class Stairs:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"stairs": rng.randint(6 + 4 * level, 12 + 6 * level), "jumps": sorted(rng.sample(range(1, 9), 3))}, {}

    def render(self, public):
        jumps = ", ".join(map(str, public["jumps"]))
        return (
            f"A staircase has {public['stairs']} steps. One jump takes you up by one of these numbers of steps: {jumps}. "
            "In how many ways can you climb exactly to the top, where the order of the jumps counts?"
        )

    def reference(self, public, private):
        return str(ways(public["stairs"], public["jumps"]))

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isascii() and text.isdigit() and len(text) < 30 and int(text) == int(reference) else 0.0
