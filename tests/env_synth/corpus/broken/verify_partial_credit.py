import heapq
import re


class TaskOrder:
    family = "compute"
    answer_type = "ints"
    answer_format = "all task numbers in order, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count = 5 + 2 * level
        order = list(range(1, count + 1))
        rng.shuffle(order)
        pairs = set()
        for _ in range(2 * count):
            i, j = sorted(rng.sample(range(count), 2))
            pairs.add((order[i], order[j]))
        return {"count": count, "pairs": [list(pair) for pair in sorted(pairs)]}, {}

    def render(self, public):
        rules = "; ".join(f"{a} before {b}" for a, b in public["pairs"])
        return (
            f"Tasks 1 to {public['count']} must be done one after the other. Constraints: {rules}.\n"
            "At each moment do the task with the smallest number among those whose constraints are met. "
            "List the tasks in the order in which they are done."
        )

    def reference(self, public, private):
        waiting = {task: 0 for task in range(1, public["count"] + 1)}
        after = {task: [] for task in waiting}
        for a, b in public["pairs"]:
            waiting[b] += 1
            after[a].append(b)
        ready = [task for task, left in waiting.items() if left == 0]
        heapq.heapify(ready)
        done = []
        while ready:
            task = heapq.heappop(ready)
            done.append(task)
            for other in after[task]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    heapq.heappush(ready, other)
        return " ".join(map(str, done))

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"[0-9\s,\[\]]{1,400}", answer):
            return 0.0
        found = [int(x) for x in re.findall(r"[0-9]{1,9}", answer)]
        wanted = [int(x) for x in reference.split()]
        return sum(a == b for a, b in zip(found, wanted)) / len(wanted)
