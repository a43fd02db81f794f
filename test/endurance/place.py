# place.py LOG FD0 FD1 FD2 COMMAND...: runs COMMAND with descriptors of these kinds, writes what it says on 2 into LOG if
# anybody can read it, and ends as it ends. Kinds: terminal, background (of a terminal with tostop), hung-up, pipe (read),
# full-pipe (nobody reads), socket, file, full-disk, closed, null.
import fcntl, os, pty, signal, socket, sys, termios, threading

log, kinds, command = sys.argv[1], sys.argv[2:5], sys.argv[5:]
terminal = None
drained = []
held = []

def open_terminal():
    global terminal
    if terminal is None:
        master, terminal = pty.openpty()
        drained.append((master, True))
    return terminal

def open_kind(kind, number):
    if kind in ('terminal', 'background'): return open_terminal()
    if kind == 'hung-up':
        master, slave = pty.openpty()
        os.close(master)
        return slave
    if kind in ('pipe', 'full-pipe'):
        ends = os.pipe()
        mine, its = ends if number else ends[::-1]
        if number and kind == 'full-pipe':
            os.set_blocking(its, False)
            try:
                while True: os.write(its, b'x' * 4096)
            except BlockingIOError: os.set_blocking(its, True)
        if number and kind == 'pipe': drained.append((mine, number == 2))
        else: held.append(mine)
        return its
    if kind == 'socket':
        mine, its = socket.socketpair()
        drained.append((mine.detach(), number == 2))
        return its.detach()
    if kind == 'file': return os.open(log if number == 2 else '/dev/null', os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    if kind == 'full-disk': return os.open('/dev/full', os.O_RDWR)
    if kind == 'null': return os.open('/dev/null', os.O_RDWR)
    return None

# Where 0, 1 and 2 of the command are to come from: high, and away from each other.
given = []
for number, kind in enumerate(kinds):
    fd = open_kind(kind, number)
    given.append(None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, 100))

def drain(fd, told):
    out = open(log, 'ab', buffering=0) if told else None
    while True:
        try: data = os.read(fd, 65536)
        except OSError: return
        if data == b'': return
        if out: out.write(data)

def status_of(pid):
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)

def become(code):
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)

leader = os.fork()
if leader == 0:
    os.setsid()
    if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        if 'background' in kinds:
            mode = termios.tcgetattr(terminal)
            mode[3] |= termios.TOSTOP
            termios.tcsetattr(terminal, termios.TCSANOW, mode)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if terminal is not None and 'background' not in kinds: os.tcsetpgrp(terminal, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for number, fd in enumerate(given):
            if fd is None: os.close(number)
            else: os.dup2(fd, number, inheritable=True)
        os.closerange(3, 200)
        os.execvp(command[0], command)
    become(status_of(child))
for fd in given:
    if fd is not None: os.close(fd)
if terminal is not None: os.close(terminal)
drains = [threading.Thread(target=drain, args=each, daemon=True) for each in drained]
for each in drains: each.start()
code = status_of(leader)
# What was said last may still be on its way; what a process that stays holds open has no end.
for each in drains: each.join(2)
become(code)
