# close-window.py DISPLAY: asks every window there to close, as its frame does when it is clicked on (WM_DELETE_WINDOW of ICCCM 4.2.8.1).
import ctypes, sys
x = ctypes.CDLL('libX11.so.6')
x.XOpenDisplay.restype = ctypes.c_void_p
for f in ('XDefaultRootWindow','XInternAtom'): getattr(x,f).restype = ctypes.c_ulong
x.XDefaultRootWindow.argtypes=[ctypes.c_void_p]
x.XInternAtom.argtypes=[ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
d = x.XOpenDisplay(sys.argv[1].encode())
root = x.XDefaultRootWindow(d)
protocols, delete = (x.XInternAtom(d, n, 0) for n in (b'WM_PROTOCOLS', b'WM_DELETE_WINDOW'))
class ClientMessage(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('serial', ctypes.c_ulong), ('send_event', ctypes.c_int), ('display', ctypes.c_void_p), ('window', ctypes.c_ulong), ('message_type', ctypes.c_ulong), ('format', ctypes.c_int), ('data', ctypes.c_long * 5), ('pad', ctypes.c_long * 24)]
def children(w):
    r, p, n = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint(); c = ctypes.POINTER(ctypes.c_ulong)()
    x.XQueryTree(ctypes.c_void_p(d), ctypes.c_ulong(w), ctypes.byref(r), ctypes.byref(p), ctypes.byref(c), ctypes.byref(n))
    return [c[i] for i in range(n.value)]
for w in children(root):
    e = ClientMessage(33, 0, 1, d, w, protocols, 32, (ctypes.c_long * 5)(delete, 0, 0, 0, 0))
    x.XSendEvent(ctypes.c_void_p(d), ctypes.c_ulong(w), 0, 0, ctypes.byref(e))
x.XFlush(ctypes.c_void_p(d))
