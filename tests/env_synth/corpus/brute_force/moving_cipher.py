import re


def solve(prompt):
    coded = re.search(r"Coded message: ([a-z]+)", prompt)[1]
    shift = int(re.search(r"starts at (-?\d+)", prompt)[1])
    plain = ""
    for symbol in coded:
        for letter in range(26):
            if (letter + shift) % 26 == ord(symbol) - ord("a"):
                plain += chr(ord("a") + letter)
                shift = (shift + letter + 1) % 26
                break
    return plain
