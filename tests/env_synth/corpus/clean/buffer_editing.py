class BufferEditing:
    """Apply editor commands to a line of text with a cursor."""

    family = "compute"
    answer_type = "word"
    answer_format = "the final line, without spaces"
    max_level = 9

    def generate(self, rng, level):
        text = "".join(rng.choice("abcdefgh") for _ in range(5 + level))
        commands = []
        for _ in range(4 + 4 * level):
            kind = rng.choice(["L", "R", "I", "I", "D", "B", "H", "E"])
            if kind in "LR":
                commands.append([kind, str(rng.randint(1, 4))])
            elif kind == "I":
                commands.append([kind, "".join(rng.choice("uvwxyz") for _ in range(rng.randint(1, 3)))])
            else:
                commands.append([kind, ""])
        commands.append(["I", rng.choice("uvwxyz")])
        return {"text": text, "cursor": rng.randint(0, len(text)), "commands": commands}, {}

    def render(self, public):
        commands = " ".join(kind + argument for kind, argument in public["commands"])
        return (
            f"A line of text reads {public['text']}. The cursor stands before the letter with index {public['cursor']}, counting from 0 "
            "(an index equal to the length of the line means the end).\n"
            "Commands: L and a number moves the cursor that many letters left, R and a number that many right, never past an end. "
            "I and letters inserts them at the cursor, which then stands after them. D deletes the letter right of the cursor, "
            "B the letter left of it; if there is none, nothing happens. H moves the cursor to the beginning, E to the end.\n"
            f"Execute in order: {commands}\nWhat does the line read at the end?"
        )

    def reference(self, public, private):
        text, cursor = public["text"], public["cursor"]
        for kind, argument in public["commands"]:
            if kind == "L":
                cursor = max(0, cursor - int(argument))
            elif kind == "R":
                cursor = min(len(text), cursor + int(argument))
            elif kind == "I":
                text = text[:cursor] + argument + text[cursor:]
                cursor += len(argument)
            elif kind == "D":
                text = text[:cursor] + text[cursor + 1 :]
            elif kind == "B":
                if cursor > 0:
                    text = text[: cursor - 1] + text[cursor:]
                    cursor -= 1
            elif kind == "H":
                cursor = 0
            else:
                cursor = len(text)
        return text

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
