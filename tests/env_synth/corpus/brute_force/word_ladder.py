import re


def check(prompt, answer):
    listed = re.search(r"list of words: ([a-z ]+)\.", prompt)[1].split()
    first, last = re.search(r"ladder from ([a-z]+) to ([a-z]+):", prompt).groups()
    limit = int(re.search(r"at most (-?\d+) words", prompt)[1])
    words = re.findall(r"[a-z]+", answer.lower())
    if re.search(r"[^a-zA-Z\s,>-]", answer.strip()) or not 2 <= len(words) <= limit or len(set(words)) < len(words):
        return False
    if (words[0], words[-1]) != (first, last) or any(word not in listed for word in words):
        return False
    return all(len(a) == len(b) and len([1 for x, y in zip(a, b) if x != y]) == 1 for a, b in zip(words, words[1:]))
