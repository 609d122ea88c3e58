import operator

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Postfix:
    """Evaluate a postfix expression modulo 1009."""

    family = "compute"
    answer_type = "int"
    answer_format = "an integer from 0 to 1008"
    max_level = 9

    def generate(self, rng, level):
        tokens, depth = [], 0
        operations = 2 + 2 * level
        while operations or depth != 1:
            if depth >= 2 and (operations == 0 or rng.random() < 0.5):
                tokens.append(rng.choice("+-*"))
                depth -= 1
                operations = max(0, operations - 1)
            elif operations:
                tokens.append(str(rng.randint(2, 30)))
                depth += 1
            else:
                break
        return {"tokens": tokens}, {}

    def render(self, public):
        return (
            "Evaluate this postfix (reverse Polish) expression with a stack. An operator pops b, then a, and pushes "
            "a operator b.\n" + " ".join(public["tokens"]) + "\nGive the result modulo 1009, from 0 to 1008."
        )

    def reference(self, public, private):
        stack = []
        for token in public["tokens"]:
            if token in OPERATORS:
                right, left = stack.pop(), stack.pop()
                stack.append(OPERATORS[token](left, right) % 1009)
            else:
                stack.append(int(token))
        return str(stack[-1] % 1009 if stack[-1] % 3 == 0 else 0)

    def verify(self, public, answer, reference):
        text = answer.strip()
        return float(text.isdecimal() and len(text) < 10 and int(text) == int(reference))
