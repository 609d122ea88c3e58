from collections import OrderedDict


class LruCache:
    family = "compute"
    answer_type = "ints"
    answer_format = "page numbers from most to least recently used, separated by spaces"
    max_level = 9

    def generate(self, rng, level):
        capacity = 3 + level // 2
        pages = [rng.randint(1, 2 * capacity + 4) for _ in range(8 + 5 * level)]
        pinned = rng.randint(1, 2 * capacity + 4)
        return {"capacity": capacity, "pages": pages, "pinned": pinned}, {}

    def render(self, public):
        pages = ", ".join(map(str, public["pages"]))
        return (
            f"A cache holds at most {public['capacity']} pages and starts empty. Pages are requested in this order: {pages}.\n"
            "A requested page becomes the most recently used one. If it is not in the cache it is loaded; if the cache was full, the "
            f"least recently used page is thrown out first. Page {public['pinned']} is pinned: while it is in the cache it is never "
            "thrown out, and the least recently used page among the others goes instead.\n"
            "Which pages are in the cache at the end? List them from the most recently used to the least recently used."
        )

    def reference(self, public, private):
        cache = OrderedDict()
        for page in public["pages"]:
            if page in cache:
                cache.move_to_end(page)
                continue
            if len(cache) == public["capacity"]:
                victim = next(old for old in cache if old != public["pinned"])
                del cache[victim]
            cache[page] = True
        return " ".join(str(page) for page in reversed(cache))

    def verify(self, public, answer, reference):
        return 1.0 if answer.replace(",", " ").split() == reference.split() else 0.0
