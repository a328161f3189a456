# cause: busy_idle_service
"""Waits for orders in an event loop; on a quiet day none comes."""
import asyncio
import time

SECONDS = 9  # vary: 9, 8, 8
KIND = "loop"  # vary: "loop", "queue", "thread"
done = []


async def orders(inbox: asyncio.Queue, end: float):
    while time.time() < end:
        if KIND == "loop":
            if not inbox.empty():
                done.append(await inbox.get())
            await asyncio.sleep(0)  # fixed: await asyncio.sleep(0.25)
        else:
            try:
                done.append(inbox.get_nowait())
            except asyncio.QueueEmpty:
                await asyncio.sleep(0)  # fixed: await asyncio.sleep(0.25)


def in_thread(end):
    import queue

    jobs = queue.Queue()
    while time.time() < end:
        try:
            done.append(jobs.get(block=False))  # fixed: done.append(jobs.get(timeout=0.5))
        except queue.Empty:
            pass


async def main():
    await orders(asyncio.Queue(), time.time() + SECONDS)


if KIND == "thread":
    in_thread(time.time() + SECONDS)
else:
    asyncio.run(main())
print(f"{len(done)} orders")
