"""Another user who tries, from a VM's start to its end, whatever its directory has: intrude.py DIRECTORY

Says "trying", and a line for each thing that let them in.
"""

import os
import socket
import sys

directory = sys.argv[1]
held = None
print("trying", flush=True)
while True:
    try:
        # What was opened before it was closed to others.
        held = held or os.open(directory, os.O_PATH)
    except OSError:
        pass
    for at in [directory] + ([f"/proc/self/fd/{held}"] if held else []):
        for name in ("monitor.sock", "qmp.sock", "control.sock", "hook-SIGTERM.sock", "hook-late.sock"):
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                    client.connect(f"{at}/{name}")
                print(f"connected to {name}", flush=True)
            except OSError:
                pass
        for name in ("lock", "status.json", "monitors.cfg", "qemu.pid", "qemu.id"):
            try:
                os.close(os.open(f"{at}/{name}", os.O_RDONLY))
                print(f"opened {name}", flush=True)
            except OSError:
                pass
        try:
            names = os.listdir(at)
            if names:
                print(f"listed {' '.join(names)}", flush=True)
        except OSError:
            pass
