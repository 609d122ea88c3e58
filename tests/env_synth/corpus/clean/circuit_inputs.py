def evaluate(bits, gates):
    values = list(bits)
    for kind, a, b in gates:
        if kind == "AND":
            values.append(values[a] & values[b])
        elif kind == "OR":
            values.append(values[a] | values[b])
        else:
            values.append(values[a] ^ values[b])
    return values


class CircuitInputs:
    """Find input bits that make a circuit give the wanted output bits."""

    family = "certificate"
    answer_type = "word"
    answer_format = "the input bits w0 w1 ... as one string of 0 and 1"
    max_level = 8

    def generate(self, rng, level):
        inputs = 6 + 2 * level
        bits = [rng.randint(0, 1) for _ in range(inputs)]
        gates = []
        for _ in range(2 * inputs):
            a, b = rng.sample(range(inputs + len(gates)), 2)
            gates.append([rng.choice(["XOR", "XOR", "AND", "OR"]), a, b])
        values = evaluate(bits, gates)
        outputs = rng.sample(range(inputs, len(values)), inputs + 2)
        return {
            "inputs": inputs,
            "gates": gates,
            "outputs": [[wire, values[wire]] for wire in sorted(outputs)],
        }, {"bits": bits}

    def render(self, public):
        start = public["inputs"]
        gates = "\n".join(f"w{start + i} = w{a} {kind} w{b}" for i, (kind, a, b) in enumerate(public["gates"]))
        outputs = ", ".join(f"w{wire} = {value}" for wire, value in public["outputs"])
        return (
            f"A circuit has the input wires w0 to w{start - 1}, each 0 or 1, and these gates:\n{gates}\n"
            f"Find input values such that {outputs}. Write the values of w0 to w{start - 1} one after the other. "
            "If several inputs do it, any of them is right."
        )

    def reference(self, public, private):
        return "".join(map(str, private["bits"]))

    def verify(self, public, answer, reference):
        text = answer.strip().replace(" ", "")
        if len(text) != public["inputs"] or set(text) - {"0", "1"}:
            return 0.0
        values = evaluate([int(bit) for bit in text], public["gates"])
        return 1.0 if all(values[wire] == value for wire, value in public["outputs"]) else 0.0
