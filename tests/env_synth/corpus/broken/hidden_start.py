import string


class MovingCipher:
    """A Caesar cipher whose shift grows by the letter before it."""

    family = "compute"
    answer_type = "word"
    answer_format = "the decoded lower-case letters without spaces"
    max_level = 9

    def generate(self, rng, level):
        plain = [rng.randrange(26) for _ in range(4 + 2 * level)]
        shift, coded = rng.randint(1, 25), []
        start = shift
        for letter in plain:
            coded.append(string.ascii_lowercase[(letter + shift) % 26])
            shift = (shift + letter + 1) % 26
        return {"coded": "".join(coded), "start": start}, {}

    def render(self, public):
        return (
            "A message of lower-case letters (a=0, b=1, ..., z=25) was enciphered letter by letter: coded = (letter + shift) mod 26. "
            f"After each letter it becomes (shift + letter + 1) mod 26, with the letter before "
            f"enciphering.\nCoded message: {public['coded']}\nDecode it."
        )

    def reference(self, public, private):
        shift, plain = public["start"], ""
        for symbol in public["coded"]:
            letter = (string.ascii_lowercase.index(symbol) - shift) % 26
            plain += string.ascii_lowercase[letter]
            shift = (shift + letter + 1) % 26
        return plain

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip().lower() == reference else 0.0
