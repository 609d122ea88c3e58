import re


class LeagueTable:
    family = "compute"
    answer_type = "text"
    answer_format = "the team letters from first to last, separated by spaces"
    max_level = 8

    def generate(self, rng, level):
        teams = sorted(rng.sample("ABCDEFGHJKLMNPQRSTUVWXYZ", 4 + level // 2))
        games = []
        for i, home in enumerate(teams):
            for away in teams[i + 1 :]:
                games.append([home, away, rng.randint(0, 4), rng.randint(0, 4)])
        rng.shuffle(games)
        keep = min(len(games), 5 + 3 * level)
        return {"teams": teams, "games": games[:keep]}, {}

    def render(self, public):
        games = "\n".join(f"{home} {left}:{right} {away}" for home, away, left, right in public["games"])
        return (
            f"The teams {', '.join(public['teams'])} played these games (goals of the left team first):\n{games}\n"
            "A win gives 3 points, a draw 1 point to each team, a loss 0. Teams are ranked by points; equal points by goal "
            "difference; then by goals scored; teams that are still equal in alphabetical order. List all teams from first to last."
        )

    def reference(self, public, private):
        points = {team: 0 for team in public["teams"]}
        scored = dict(points)
        conceded = dict(points)
        for home, away, left, right in public["games"]:
            scored[home] += left
            scored[away] += right
            conceded[home] += right
            conceded[away] += left
            if left == right:
                points[home] += 1
                points[away] += 1
            else:
                points[home if left > right else away] += 3

        def rank(team):
            return (-points[team], -(scored[team] - conceded[team]), -scored[team], team)

        return " ".join(sorted(public["teams"], key=rank))

    def verify(self, public, answer, reference):
        given = [part for part in re.split(r"[\s,>]+", answer.strip().upper()) if part]
        return 1.0 if given == reference.split() else 0.0
