def solve(prompt):
    tokens = prompt.splitlines()[1].split()

    def value(place):
        """(value of the expression that ends at place, where the one before it ends)"""
        if tokens[place] not in "+-*":
            return int(tokens[place]), place - 1
        right, rest = value(place - 1)
        left, rest = value(rest)
        return {"+": left + right, "-": left - right, "*": left * right}[tokens[place]], rest

    return str(value(len(tokens) - 1)[0] % 1009)
