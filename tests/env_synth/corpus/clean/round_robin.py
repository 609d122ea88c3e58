import re


class RoundRobin:
    """Processes share one processor in time slices; in which order do they finish, and when?"""

    family = "compute"
    answer_type = "ints"
    answer_format = "the finishing times of process 1, 2, 3 and so on, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        count = 3 + level
        jobs = []
        for _ in range(count):
            jobs.append([rng.randint(0, 2 * count), rng.randint(2, 6 + 2 * level)])
        return {"jobs": jobs, "slice": rng.randint(2, 3 + level // 3)}, {}

    def render(self, public):
        jobs = "\n".join(f"Process {i}: arrives at {arrival}, needs {need}" for i, (arrival, need) in enumerate(public["jobs"], 1))
        return (
            f"A processor runs processes in turn, each for at most {public['slice']} time units before the next one gets its turn.\n{jobs}\n"
            "Waiting processes stand in a queue. The process at the head runs until its slice is used up or it is finished; if it is "
            "finished, the next one starts at once. A process that arrives joins the end of the queue at its arrival time (several "
            "at the same time: lower number first). A process that used up its slice without finishing joins the end of the queue "
            "after those that arrive at that very moment or earlier. If the queue is empty the processor waits for the next arrival. "
            "At which time is each process finished?"
        )

    def reference(self, public, private):
        jobs = public["jobs"]
        coming = sorted(range(len(jobs)), key=lambda i: (jobs[i][0], i))
        left = [need for _, need in jobs]
        finished = [0] * len(jobs)
        queue, time = [], 0
        while coming or queue:
            if not queue:
                time = max(time, jobs[coming[0]][0])
            while coming and jobs[coming[0]][0] <= time:
                queue.append(coming.pop(0))
            current = queue.pop(0)
            run = min(public["slice"], left[current])
            time += run
            left[current] -= run
            while coming and jobs[coming[0]][0] <= time:
                queue.append(coming.pop(0))
            if left[current]:
                queue.append(current)
            else:
                finished[current] = time
        return " ".join(map(str, finished))

    def verify(self, public, answer, reference):
        numbers = re.findall(r"[0-9]+", answer)
        if re.search(r"[^0-9\s,]", answer) or any(len(number) > 9 for number in numbers):
            return 0.0
        return 1.0 if [int(n) for n in numbers] == [int(n) for n in reference.split()] else 0.0
