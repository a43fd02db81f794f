# between.py LOG QEMU [OPTION...]: a real QEMU, with each of qemu-trap's monitors passed through this program. It plays
# nothing: every byte goes on as it comes. Into LOG goes each line that QEMU is sent after it has said SHUTDOWN (and not
# STOP since), as long as it is there. With $WHOLE it is all that passes on the control monitor, `> ` to QEMU and `< ` from it.
import os, re, selectors, socket, subprocess, sys, tempfile

log, command = open(sys.argv[1], 'w', buffering=1), sys.argv[2:]
at = len(command) - 1 - command[::-1].index('-readconfig') + 1
config = open(command[at]).read()
folder = tempfile.mkdtemp(prefix='between-', dir=os.path.dirname(sys.argv[1]))
pick = selectors.DefaultSelector()
exits = False
whole = 'WHOLE' in os.environ

# The control monitor: qemu-trap's end is inherited, QEMU gets one of ours.
number = int(re.search(r'fd = "(\d+)"', config).group(1))
ours, qemus = socket.socketpair()
os.set_inheritable(qemus.fileno(), True)
config = config.replace(f'fd = "{number}"', f'fd = "{qemus.fileno()}"')
control = socket.socket(fileno=number)
os.set_inheritable(number, False)

# The listening ones: QEMU's lie elsewhere.
listeners = {}
for path in re.findall(r'path = "([^"]*)"', config):
    real = os.path.join(folder, os.path.basename(path))
    config = config.replace(f'path = "{path}"', f'path = "{real}"')
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    listeners[listener] = real
    pick.register(listener, selectors.EVENT_READ, ('accept', None))
command[at] = os.path.join(folder, 'monitors.cfg')
open(command[at], 'w').write(config)

towards = {}
def pair(client, qemu):
    for one, other, kind in ((client, qemu, 'to QEMU'), (qemu, client, 'from QEMU')):
        one.setblocking(False)
        towards[one] = other
        pick.register(one, selectors.EVENT_READ, (kind, other))
def close(one):
    other = towards.pop(one, None)
    pick.unregister(one)
    if other is None: return one.close()
    try: other.shutdown(socket.SHUT_WR)
    except OSError: pass
    if other not in towards: one.close(), other.close()
def read(one):
    try: return one.recv(65536)
    except BlockingIOError: return None
    except OSError: return b''
def write(one, data):
    one.setblocking(True)
    try: one.sendall(data)
    except OSError: pass
    one.setblocking(False)
def tell(direction, client, data):
    if client is not control: return
    for line in data.decode().splitlines(): log.write(f'{direction}{line}\n')
def to_qemu(one):
    data = read(one)
    if data is None: return
    if data == b'': return close(one)
    if whole: tell('> ', one, data)
    elif exits: log.write(f'{data!r}\n')
    write(towards[one], data)
def from_qemu(one):
    global exits
    data = read(one)
    if data is None: return
    if data == b'': return close(one)
    if whole: tell('< ', towards.get(one), data)
    if b'"SHUTDOWN"' in data:
        # What was on its way before anybody could know is none of what is counted.
        for other, key in list(towards.items()):
            if other in towards and pick.get_key(other).data[0] == 'to QEMU': to_qemu(other)
        exits = True
    if b'"STOP"' in data and (b'"SHUTDOWN"' not in data or data.rindex(b'"STOP"') > data.index(b'"SHUTDOWN"')): exits = False
    write(towards[one], data) if one in towards else None

pair(control, ours)
qemu = subprocess.Popen(command, close_fds=False)
qemus.close()
while qemu.poll() is None:
    for key, _ in pick.select(0.05):
        kind, other = key.data
        if kind == 'accept':
            client, _ = key.fileobj.accept()
            real = socket.socket(socket.AF_UNIX)
            try: real.connect(listeners[key.fileobj])
            except OSError: client.close()
            else: pair(client, real)
        elif key.fileobj in towards: (to_qemu if kind == 'to QEMU' else from_qemu)(key.fileobj)
# Its last words, and then its end.
for one in [one for one in towards if pick.get_key(one).data[0] == 'from QEMU']:
    while one in towards:
        data = read(one)
        if not data: break
        if whole: tell('< ', towards.get(one), data)
        write(towards[one], data)
log.write('end\n')
if qemu.returncode < 0: os.kill(os.getpid(), -qemu.returncode)
sys.exit(qemu.returncode)
