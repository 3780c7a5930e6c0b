# `python3 terminal.py COMMAND…`: runs COMMAND as the leader of a session with a terminal, as `docker run -it` or a login does, and
# takes the steps that stdin holds as JSON. Each is one of
#   ["send", TEXT]
#   ["expect", TEXT]         in what was written since the last step that expected something
#   ["state", NAME, LETTER]  of the processes whose program has this name
#   ["size", ROWS, COLUMNS]  of the terminal
#   ["file", PATH]           waits until the file is not empty
#   ["write", PATH, TEXT]    replaces the file by one with this text
#   ["note", NAME]           waits until the session's process of this name has nothing to do, and prints how it stands
#   ["hang up"]
#   ["end"]                  kills the session
# Prints the exit code at last.
import fcntl, json, os, pty, select, signal, struct, sys, termios, time

steps = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
session, seen, everything = pid, "", ""

def read(seconds):
    global seen, everything
    if terminal is None:
        time.sleep(seconds)
    elif select.select([terminal], [], [], seconds)[0]:
        try:
            text = os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            text = ""
        seen, everything = seen + text, everything + text
        return text != ""
    return False

def states(name):
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat") as file:
                head, tail = file.read().rsplit(")", 1)
            if entry.isdigit() and head.split("(", 1)[1] == name:
                found.append(tail.split()[0])
        except OSError:
            pass
    return found

def stat(pid):
    """Of a process of the session: its name, state, group, and the group in front."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            head, tail = file.read().rsplit(")", 1)
    except OSError:
        return None
    tail = tail.split()
    return (head.split("(", 1)[1], tail[0], int(tail[2]), int(tail[5])) if int(tail[3]) == session else None

def members():
    found = {int(entry): stat(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat}

def idle(name):
    """How the process stands, unless it has something to do."""
    for pid, (its_name, state, group, front) in members().items():
        if its_name != name or state not in "ST":
            continue
        with open(f"/proc/{pid}/status") as file:
            masks = dict(line.split()[:2] for line in file if line.startswith(("SigPnd", "ShdPnd", "SigBlk")))
        pending, shared, blocked = (int(masks[name], 16) for name in ("SigPnd:", "ShdPnd:", "SigBlk:"))
        if state == "T" or not (pending | shared) & ~blocked:
            return f"{state} {'leads' if group == pid else 'follows'} {'front' if group == front else 'back'}"
    return None

def fail(why):
    sys.stderr.write(f"{why}; so far:\n{everything}\n")
    os.kill(pid, 9)
    sys.exit(98)

for step in steps:
    limit = time.monotonic() + 10
    if step[0] == "send":
        os.write(terminal, step[1].encode())
    elif step[0] == "expect":
        while step[1] not in seen:
            read(0.05)
            if time.monotonic() > limit:
                fail(f"no {step[1]!r}")
        seen = seen.split(step[1], 1)[1]
    elif step[0] == "size":
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", step[1], step[2], 0, 0))
    elif step[0] == "file":
        while os.stat(step[1]).st_size == 0:
            read(0.01)
            if time.monotonic() > limit:
                fail(f"{step[1]} is empty")
    elif step[0] == "write":
        with open(step[1] + ".new", "w") as file:
            file.write(step[2])
        os.rename(step[1] + ".new", step[1])
    elif step[0] == "note":
        # Twice the same: the kernel shows that a process is stopped a moment before it tells its parent.
        last, now = None, None
        while now is None or now != last:
            read(0.02)
            last, now = now, idle(step[1])
            if time.monotonic() > limit:
                fail(f"{step[1]} does not come to rest")
        print(now)
    elif step[0] == "hang up":
        os.close(terminal)
        terminal = None
    elif step[0] == "end":
        # The leader last: its end would be a signal to the others.
        for member in sorted(members(), reverse=True):
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                pass
    else:
        while set(states(step[1])) != {step[2]}:
            read(0.01)
            if time.monotonic() > limit:
                fail(f"{step[1]} is {states(step[1])}, not {step[2]}")
limit = time.monotonic() + 10
while True:
    read(0.01)
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        break
    if time.monotonic() > limit:
        fail("it does not end")
print(os.waitstatus_to_exitcode(status))
