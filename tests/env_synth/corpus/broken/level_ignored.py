import re

TURNS = {"N": (0, -1), "E": (1, 0), "S": (0, 1), "W": (-1, 0)}


class TorusRobot:
    family = "compute"
    answer_type = "ints"
    answer_format = "x and y, separated by a space"
    max_level = 9

    def generate(self, rng, level):
        side = rng.randint(5, 9)
        moves = [[rng.choice("FLR"), rng.randint(1, 9)] for _ in range(9)]
        return {"side": side, "x": rng.randrange(side), "y": rng.randrange(side), "moves": moves}, {}

    def render(self, public):
        moves = " ".join(f"F{n}" if kind == "F" else kind for kind, n in public["moves"])
        return (
            f"A robot stands at x={public['x']}, y={public['y']} on a {public['side']} by {public['side']} grid that wraps around at "
            "every edge (coordinates from 0). It faces north. F followed by a number moves it that many cells forward, L turns it left, "
            f"R turns it right. North lowers y, east raises x.\n{moves}\nWhere does it end? Give x and y."
        )

    def reference(self, public, private):
        x, y, facing = public["x"], public["y"], 0
        for kind, n in public["moves"]:
            if kind == "F":
                dx, dy = TURNS["NESW"[facing]]
                x, y = (x + n * dx) % public["side"], (y + n * dy) % public["side"]
            else:
                facing = (facing + (1 if kind == "R" else 3)) % 4
        return f"{x} {y}"

    def verify(self, public, answer, reference):
        found = re.fullmatch(r"\(?\s*(\d{1,6})\s*[, ]\s*(\d{1,6})\s*\)?", answer.strip())
        return 1.0 if found and f"{int(found[1])} {int(found[2])}" == reference else 0.0
