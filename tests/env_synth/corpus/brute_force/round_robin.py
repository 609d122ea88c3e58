import re


def solve(prompt):
    """One time unit after the other."""
    slice_ = int(re.search(r"at most (-?\d+) time units", prompt)[1])
    jobs = {int(i): [int(a), int(n)] for i, a, n in re.findall(r"Process (\d+): arrives at (-?\d+), needs (-?\d+)", prompt)}
    queue, finished, running, used, time = [], {}, None, 0, 0
    while len(finished) < len(jobs):
        queue += [i for i, (arrival, _) in sorted(jobs.items()) if arrival == time]
        if running is not None and (jobs[running][1] == 0 or used == slice_):
            if jobs[running][1] == 0:
                finished[running] = time
            else:
                queue.append(running)
            running = None
        if running is None and queue:
            running, used = queue.pop(0), 0
        if running is not None:
            jobs[running][1] -= 1
            used += 1
        time += 1
    return " ".join(str(finished[i]) for i in sorted(finished))
