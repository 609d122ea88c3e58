import re


class CheckoutLines:
    """Customers choose the shortest line; how long do they wait in total?"""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count = 4 + 3 * level
        time, customers = 0, []
        for _ in range(count):
            time += rng.randint(0, 4)
            customers.append([time, rng.randint(2, 15)])
        return {"tills": 2 + level // 4, "customers": customers}, {}

    def render(self, public):
        lines = "\n".join(f"arrives at minute {arrival}, needs {service} minutes" for arrival, service in public["customers"])
        return (
            f"A shop has {public['tills']} tills, numbered from 1. Each till serves its customers one after the other, in order of arrival. "
            "A customer who arrives joins at once the till that will be done soonest with everybody who already stands there (a till "
            "with nobody left is done now); of several such tills the one with the lowest number. Nobody changes tills. "
            f"The customers, in order:\n{lines}\n"
            "The waiting time of a customer is the time from arrival until the service begins. What is the sum of all waiting times?"
        )

    def reference(self, public, private):
        free_at = [0] * public["tills"]
        total = 0
        for arrival, service in public["customers"]:
            done = [max(moment, arrival) for moment in free_at]
            till = done.index(min(done))
            total += done[till] - arrival
            free_at[till] = done[till] + service
        return str(total)

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", answer, re.ASCII):
            return 0.0
        return 1.0 if int(answer) == int(reference) else 0.0
