"""Holds the main thread of process argv[1], as a debugger does: it does nothing any more, and SIGKILL still ends it."""
import ctypes, os, sys

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
    if ptrace(request, pid, None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(pid, WALL)
print('held', flush=True)
# Its parent hears of its end when we have.
while True:
    if not os.WIFSTOPPED(os.waitpid(pid, WALL)[1]): break
