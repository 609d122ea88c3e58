import re


def solve(prompt):
    money = int(re.search(r"opens with (-?\d+) cents", prompt)[1])
    for kind, amount in re.findall(r"^(deposit|withdraw|fee|refund) (-?\d+)$", prompt, re.M):
        amount = int(amount)
        if kind == "deposit":
            money += amount
        elif kind == "withdraw":
            money -= amount if money >= amount else 0
        elif kind == "fee":
            money = money - amount if money > amount else 0
        else:
            money += (amount - amount % 2) // 2
    return str(money)
