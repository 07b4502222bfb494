"""CPU time of another process, to the nanosecond; Linux only."""

import time

_WHOLE_PROCESS = 0b010  # CPUCLOCK_SCHED: what the scheduler counted, without CPUCLOCK_PERTHREAD_MASK


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that all threads of a process have used.

    Args:
        pid: Number of a running process.

    Raises:
        OSError: If there is no such process.

    Source:
        MAKE_PROCESS_CPUCLOCK in the kernel's include/linux/posix-timers.h.
    """
    return time.clock_gettime((~pid << 3) | _WHOLE_PROCESS)
