# healthy: coroutines that compute, and let one another run
"""Simulates clerks and customers as coroutines."""
import asyncio
import random

TURNS = 9000  # vary: 9000, 4000
WORK = 60  # vary: 60, 200
queue = None


async def clerk(name, served):
    while True:
        customer = await queue.get()
        total = 0.0
        for i in range(WORK):
            total += (customer * i) % 7 / (i + 1)
        served[name] = served.get(name, 0.0) + total
        await asyncio.sleep(0)
        queue.task_done()


async def main():
    global queue
    queue = asyncio.Queue(maxsize=20)
    served, rng = {}, random.Random(0)
    clerks = [asyncio.create_task(clerk(n, served)) for n in range(4)]
    for turn in range(TURNS * 6):
        while queue.full():
            await asyncio.sleep(0)
        queue.put_nowait(rng.random())
    await queue.join()
    for c in clerks:
        c.cancel()
    print(f"served {sum(served.values()):.4f}")


asyncio.run(main())
