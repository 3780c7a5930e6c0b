# `python3 terminal.py COMMAND…`: runs COMMAND as the leader of a session with a terminal, as `docker run -it` or a login does, and
# takes the steps that stdin holds as JSON. Each is ["send", TEXT], ["expect", TEXT] (in what was written since the last step that
# expected something) or ["state", NAME, LETTER] (of the processes whose program has this name). Prints the exit code.
import json, os, pty, select, sys, time

steps = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen, everything = "", ""

def read(seconds):
    global seen, everything
    if select.select([terminal], [], [], seconds)[0]:
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
