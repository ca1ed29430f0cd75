"""Jobs by redis-py alone: python -m tests.cluster.clients.redis_py PORT COUNT SECONDS.

A job is a SET, a transaction of its tag and reads of several slots, by one of eight threads; it is
done when all of it has worked. Another queue is popped by BLPOP. SECONDS: how long they take at
least."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from redis import Redis
from redis.exceptions import RedisError

from tests.servers import HOST

from .report import Report

TAGS = 40
THREADS = 8


def main(port: int, count: int, seconds: float) -> None:
    report = Report()
    client = Redis(host=HOST, port=port, socket_timeout=30)

    def job(number: int) -> None:
        tag = number % TAGS

        def work() -> None:
            client.set(f"job:{number}", number)
            with client.pipeline(transaction=True) as together:
                together.sadd(f"done:{{{tag}}}", number).hincrby(f"runs:{{{tag}}}", str(number), 1)
                together.execute()
            read = client.mget([f"job:{number}", f"job:{max(number - THREADS * 4, 0)}"])
            assert read[0] == b"%d" % number, read
            client.rpush(f"queue:{{{tag % 4}}}", number)

        report.until_done(work, RedisError)
        time.sleep(seconds * THREADS / count)

    popped = set[int]()

    def pop(queue: int) -> None:
        with Redis(host=HOST, port=port, socket_timeout=30) as own:
            while True:
                found = report.until_done(lambda: own.blpop([f"queue:{{{queue}}}"], 1), RedisError)
                if found is not None:
                    popped.add(int(found[1]))
                elif ended:
                    return

    ended: list[bool] = []
    with ThreadPoolExecutor(4) as poppers, ThreadPoolExecutor(THREADS) as threads:
        waiting = [poppers.submit(pop, queue) for queue in range(4)]
        for one in [threads.submit(job, number) for number in range(count)]:
            one.result()
        ended.append(True)
        for one in waiting:
            one.result()
    done = {int(one) for tag in range(TAGS) for one in client.smembers(f"done:{{{tag}}}")}
    runs = sum(int(times) - 1 for tag in range(TAGS) for times in client.hvals(f"runs:{{{tag}}}"))
    kept = client.mget([f"job:{number}" for number in range(count)])
    lost = set(range(count)) - (done & popped)
    lost |= {number for number in range(count) if kept[number] != b"%d" % number}
    report.tell(done=len(done), lost=len(lost), doubled=runs)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
