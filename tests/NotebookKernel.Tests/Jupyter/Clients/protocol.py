"""Talks to a kernel through jupyter_client, every message type once and more.

Usage: protocol.py DOTNET KERNEL_DLL FOLDER
Each function check_* is a test; the result of each is one line of JSON: name, ok, detail.
"""

import json
import os
import signal
import statistics
import sys
import time
import traceback

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

# A shell's background jobs ignore SIGINT and hand that down; the kernel started here gets the usual signal back.
signal.signal(signal.SIGINT, signal.default_int_handler)

DOTNET, DLL, FOLDER = sys.argv[1:4]
PATIENCE = 60

TRAINING = """
let steps = ref 0
let train () =
    use work = AttentionDistillation.Runtime.Progress.Start("training", 100000L)
    for step in 1L .. 100000L do
        AttentionDistillation.Runtime.Interruption.ThrowIfRequested()
        steps.Value <- steps.Value + 1
        System.Threading.Thread.Sleep 20
        work.Report(step, "loss 0.5")
"""


class Kernel:
    """A running kernel and a client of it."""

    def __init__(self):
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=[DOTNET, DLL, "kernel", "run", "--connection-file", "{connection_file}"],
            display_name="test",
            language="F#",
            interrupt_mode="message",
        )
        self.manager.start_kernel(cwd=FOLDER)
        self.connect()

    def connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.early = []

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def run(self, code, **options):
        """Executes; returns the reply and what was published for it up to idle."""
        return self.finish(self.client.execute(code, **options))

    def finish(self, message_id):
        reply = self.reply(message_id)
        return reply, self.published(message_id)

    def reply(self, message_id, channel="shell"):
        get = {"shell": self.client.get_shell_msg, "control": self.client.get_control_msg}[channel]
        while True:
            message = get(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                return message["content"]

    def begun(self, message_id):
        """Waits until a cell runs; what was published for it so far is kept for published()."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == message_id:
                self.early.append((message["msg_type"], message["content"]))
                if message["msg_type"] == "execute_input":
                    return

    def published(self, message_id):
        found, self.early = self.early, []
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            found.append((message["msg_type"], message["content"]))
            if found[-1] == ("status", {"execution_state": "idle"}):
                return found

    def ask(self, function, *arguments, **options):
        return self.reply(function(*arguments, **options))

    def control(self, type):
        message = self.client.session.msg(type, {})
        self.client.control_channel.send(message)
        return self.reply(message["header"]["msg_id"], "control")

    def memory(self):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def of(published, type):
    return [content for kind, content in published if kind == type]


def text(published, name="stdout"):
    return "".join(content["text"] for content in of(published, "stream") if content["name"] == name)


def result(published):
    (content,) = of(published, "execute_result")
    return content["data"]


def expect(condition, detail=""):
    if not condition:
        raise AssertionError(detail)


def check_kernel_info(k):
    info = k.ask(k.client.kernel_info)
    expect(info["status"] == "ok" and info["protocol_version"] == "5.4", info)
    expect(info["language_info"]["name"] == "F#" and info["language_info"]["file_extension"] == ".fsx", info)
    expect(k.control("kernel_info_request") == info, "control and shell differ")


def check_execute_result_and_statuses(k):
    reply, seen = k.run("1 + 1")
    expect(reply["status"] == "ok" and reply["payload"] == [] and reply["user_expressions"] == {}, reply)
    kinds = [kind for kind, _ in seen]
    expect(kinds == ["status", "execute_input", "execute_result", "status"], kinds)
    expect(seen[0][1]["execution_state"] == "busy" and seen[1][1]["code"] == "1 + 1", seen)
    expect(result(seen) == {"text/plain": "2"} and seen[2][1]["execution_count"] == reply["execution_count"], seen)


def check_streams(k):
    _, seen = k.run('printfn "out"\neprintfn "err"\nfor i in 1 .. 1000 do printf "%d " i')
    expect(text(seen).startswith("out\n1 2 ") and text(seen).endswith("1000 "), text(seen)[-20:])
    expect(text(seen, "stderr") == "err\n", seen)
    expect(len(of(seen, "stream")) < 20, "small pieces are not joined")


def check_display_and_update(k):
    _, seen = k.run('let shown = display (HTML "<b>1</b>")')
    (shown,) = of(seen, "display_data")
    expect(shown["data"]["text/html"] == "<b>1</b>" and shown["metadata"] == {}, shown)
    _, seen = k.run('shown.Update(HTML "<b>2</b>")')
    (update,) = of(seen, "update_display_data")
    expect(update["transient"] == shown["transient"] and shown["transient"]["display_id"], update)
    expect(update["data"]["text/html"] == "<b>2</b>", update)


def check_rich_values(k):
    _, seen = k.run("open Plotly.NET\nChart.Line([ 1, 2; 2, 3 ])")
    chart = result(seen)
    expect(chart["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter", "no figure")
    expect("Plotly" in chart["text/html"] and "text/plain" in chart, list(chart))
    _, seen = k.run("open TorchSharp\ntorch.arange(6L).reshape(2L, 3L)")
    expect("[2, 3] Int64 on cpu" in result(seen)["text/plain"], result(seen))
    _, seen = k.run("torch.nn.Linear(3L, 4L)")
    expect("16 parameters" in result(seen)["text/html"], result(seen))
    _, seen = k.run('open Deedle\nframe [ "a" => series [ 1 => 1.0; 2 => 2.0 ] ]')
    expect("2 rows, 1 columns" in result(seen)["text/html"], result(seen))
    _, seen = k.run(
        "let q = torch.zeros(1L, 2L, 4L, 8L)\nAttentionDistillation.Attention.AttentionState(q, q, q, null)"
    )
    expect("application/vnd.plotly.v1+json" in result(seen), list(result(seen)))
    _, seen = k.run('System.InvalidOperationException("an exception as a value")')
    expect("an exception as a value" in result(seen)["text/plain"], result(seen))
    expect("text/html" in result(seen), list(result(seen)))


def check_runtime_error(k):
    reply, seen = k.run('let rec divide n = if n > 0 then divide (n - 1) + 1 else 10 / n\nlet a = 1\ndivide 1 |> printfn "%d"')
    (error,) = of(seen, "error")
    expect(reply["status"] == "error" and reply["ename"] == error["ename"] == "DivideByZeroException", reply)
    report = "\n".join(error["traceback"])
    expect(f"cell {reply['execution_count']}, line 1" in report and "line 3" in report, report)
    expect("FSI" not in report and "NotebookKernel" not in report and FOLDER not in report, report)


def check_compile_error(k):
    reply, seen = k.run("let fine = 1\nlet broken = fine + unknownName")
    (error,) = of(seen, "error")
    expect(error["evalue"].startswith("FS0039") and "^^^^^" in error["traceback"][2], error)
    expect(k.run(")")[0]["status"] == "error", "a cell that does not parse passed")


def check_silent_and_store_history(k):
    before = k.run("0")[0]["execution_count"]
    reply, seen = k.run('printfn "hidden"\n5', silent=True)
    expect(reply["execution_count"] == before and [kind for kind, _ in seen] == ["status", "status"], seen)
    reply, seen = k.run("6", store_history=False)
    expect(reply["execution_count"] == before and result(seen)["text/plain"] == "6", reply)
    expect(k.run("7")[0]["execution_count"] == before + 1, "the count moved")


def check_stop_on_error(k):
    # The cell takes its time to fail, so that the others have arrived: what waits is aborted.
    failing = 'System.Threading.Thread.Sleep 1000\nfailwith "stop" |> ignore<int>'
    ids = [k.client.execute(code) for code in (failing, "1", "2")]
    replies = [k.reply(each) for each in ids]
    k.published(ids[-1])
    expect([each["status"] for each in replies] == ["error", "aborted", "aborted"], replies)
    ids = [k.client.execute(code, stop_on_error=False) for code in ('failwith "go on" |> ignore<int>', "1")]
    replies = [k.reply(each) for each in ids]
    k.published(ids[-1])
    expect([each["status"] for each in replies] == ["error", "ok"], replies)


def check_user_expressions(k):
    reply, _ = k.run("let base' = 20", user_expressions={"sum": "base' + 1", "wrong": "nowhere"})
    found = reply["user_expressions"]
    expect(found["sum"] == {"status": "ok", "data": {"text/plain": "21"}, "metadata": {}}, found)
    expect(found["wrong"]["status"] == "error" and "nowhere" in found["wrong"]["evalue"], found)


def check_stdin(k):
    id = k.client.execute('printf "Name? "\nlet name = System.Console.ReadLine()\nname.ToUpper()', allow_stdin=True)
    question = k.client.get_stdin_msg(timeout=PATIENCE)
    expect(question["msg_type"] == "input_request" and question["content"]["password"] is False, question)
    expect(question["parent_header"]["msg_id"] == id, question)
    k.client.input("ada")
    reply, seen = k.finish(id)
    expect(result(seen)["text/plain"] == "ADA" and text(seen) == "Name? ", seen)
    reply, _ = k.run("System.Console.ReadLine()", allow_stdin=False)
    expect(reply["status"] == "error" and "allows no questions" in reply["evalue"], reply)


def check_interrupt_while_asking(k):
    id = k.client.execute("stdin.ReadLine()", allow_stdin=True)
    k.client.get_stdin_msg(timeout=PATIENCE)
    k.manager.interrupt_kernel()
    expect(k.finish(id)[0]["ename"] == "Interrupted", "reading went on")


def check_complete(k):
    k.run("let numbers = [ 1; 2 ]")
    code = "let y = 1\nnumbers |> List.ma"
    found = k.ask(k.client.complete, code, len(code))
    expect("map" in found["matches"] and found["cursor_start"] == len(code) - 2, found)
    types = found["metadata"]["_jupyter_types_experimental"]
    expect(types[0]["text"] == found["matches"][0] and types[0]["type"], types[:2])
    # Positions count code points: the smiling face is one.
    code = '"é😀".Len'
    found = k.ask(k.client.complete, code, len(code))
    expect(found["matches"][0] == "Length" and found["cursor_start"] == len(code) - 3, found)
    code = "torch.zeros(3L).soft"
    expect("softmax" in k.ask(k.client.complete, code, len(code))["matches"], "members of tensors")


def check_inspect(k):
    code = "AttentionDistillation.Attention.AttentionState"
    found = k.ask(k.client.inspect, code, len(code))
    expect(found["found"] and "[B, H, L, D]" in found["data"]["text/plain"], found)
    code = "List.map"
    expect("new collection" in k.ask(k.client.inspect, code, 6)["data"]["text/plain"], "documentation of F#")
    nothing = k.ask(k.client.inspect, "nowhere", 3)
    expect(nothing["status"] == "ok" and not nothing["found"] and nothing["data"] == {}, nothing)


def check_is_complete(k):
    verdicts = {
        "1 + 1": "complete",
        "let f x =\n    x": "complete",
        "let f x =": "incomplete",
        "[ 1;": "incomplete",
        '"""abc': "incomplete",
        "if true then": "incomplete",
        "let let": "invalid",
        "let a = 1\n)": "invalid",
    }
    found = {code: k.ask(k.client.is_complete, code) for code in verdicts}
    expect({code: each["status"] for code, each in found.items()} == verdicts, found)
    expect(found["let f x ="]["indent"] == "    ", found)


def check_history(k):
    count = k.run("let historic = 11\nhistoric")[0]["execution_count"]
    tail = k.ask(k.client.history, raw=True, output=True, hist_access_type="tail", n=1)
    expect(tail["history"] == [[1, count, ["let historic = 11\nhistoric", "11"]]], tail)
    found = k.ask(k.client.history, hist_access_type="search", pattern="*historic*", n=5, output=False)
    expect([each[2] for each in found["history"]] == ["let historic = 11\nhistoric"], found)
    spans = k.ask(k.client.history, hist_access_type="range", session=0, start=count, stop=count + 1)
    expect([each[1] for each in spans["history"]] == [count], spans)


def check_comms(k):
    expect(k.ask(k.client.comm_info) == {"status": "ok", "comms": {}}, "comm_info")
    message = k.client.session.msg("comm_open", {"comm_id": "c1", "target_name": "none", "data": {}})
    k.client.shell_channel.send(message)
    closed = of(k.published(message["header"]["msg_id"]), "comm_close")
    expect(closed == [{"comm_id": "c1", "data": {}}], closed)


def check_directives_and_tasks(k):
    with open(os.path.join(FOLDER, "helper.fsx"), "w") as file:
        file.write("let answer = 42")
    k.run('#load "helper.fsx"')
    expect(result(k.run("Helper.answer")[1])["text/plain"] == "42", "#load")
    expect("Real:" in text(k.run('#time "on"\nlet timed = 1')[1]), "#time")
    k.run('#time "off"')
    expect(result(k.run("task { return 5 }")[1])["text/plain"] == "5", "task")
    expect(result(k.run("async { return 6 }")[1])["text/plain"] == "6", "async")
    dll = os.path.join(os.path.dirname(DLL), "Markdig.dll")
    k.run(f'#r @"{dll}"')
    expect("<em>" in result(k.run('Markdig.Markdown.ToHtml "*x*"')[1])["text/plain"], "#r dll")


def check_packages(k):
    # This one is in the package cache of every build, so that no network is needed.
    k.run('#r "nuget: NaCl.Net, 0.1.13"')
    expect(result(k.run("typeof<NaCl.Curve25519>.Name")[1])["text/plain"] == "Curve25519", "#r nuget")


def check_progress_is_updated_in_place(k):
    _, seen = k.run(
        'let work () =\n    use task = AttentionDistillation.Runtime.Progress.Start("fit", 2000L)\n'
        "    for step in 1L .. 2000L do\n        System.Threading.Thread.Sleep 1\n        task.Report(step)\nwork ()"
    )
    expect(len(of(seen, "display_data")) == 1, "one bar")
    updates = of(seen, "update_display_data")
    expect(2 <= len(updates) <= 40, f"{len(updates)} updates for 2000 reports")
    expect("fit: 2000 steps" in updates[-1]["data"]["text/plain"], updates[-1])


def interrupt(k, code, send):
    id = k.client.execute(code)
    k.begun(id)
    time.sleep(1)
    begun = time.time()
    send()
    reply, seen = k.finish(id)
    expect(reply["status"] == "error" and reply["ename"] == "Interrupted", reply)
    expect(time.time() - begun < 2, f"{time.time() - begun:.1f} s")


def check_interrupt_by_message(k):
    k.run(TRAINING)
    interrupt(k, "train ()", lambda: expect(k.control("interrupt_request")["status"] == "ok"))
    expect(result(k.run("steps.Value > 10")[1])["text/plain"] == "true", "the state is gone")


def check_interrupt_by_signal(k):
    interrupt(k, "train ()", lambda: os.kill(k.pid, signal.SIGINT))
    expect(result(k.run("steps.Value > 20")[1])["text/plain"] == "true", "the state is gone")


def check_interrupt_of_cells_that_heed_nothing(k):
    for code in ("while true do ()", "System.Threading.Thread.Sleep 100000"):
        interrupt(k, code, k.manager.interrupt_kernel)
    expect(result(k.run("steps.Value > 20")[1])["text/plain"] == "true", "the state is gone")


def check_control_answers_while_a_cell_runs(k):
    id = k.client.execute("System.Threading.Thread.Sleep 1000")
    begun = time.time()
    k.control("kernel_info_request")
    expect(time.time() - begun < 0.9, "it waited for the cell")
    k.finish(id)


def check_heartbeat(k):
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.connect(f"tcp://127.0.0.1:{k.manager.hb_port}")
    id = k.client.execute("System.Threading.Thread.Sleep 300")
    socket.send(b"beat")
    expect(socket.poll(250) and socket.recv() == b"beat", "no beat")
    socket.close()
    k.finish(id)


def check_malformed_messages_are_dropped(k):
    session = k.client.session
    good = session.serialize(session.msg("kernel_info_request", {}))
    for name in ("shell", "control", "stdin"):
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.connect(f"tcp://127.0.0.1:{getattr(k.manager, name + '_port')}")
        socket.send(b"")
        socket.send(b"nonsense")
        socket.send_multipart([b"<IDS|MSG>"])
        socket.send_multipart([b"<IDS|MSG>", b"00", b"{}", b"{}", b"{}", b"{}"])
        forged = list(good)
        forged[1] = b"f" * 64
        socket.send_multipart(forged)
        changed = list(good)
        changed[-1] = b'{"x": 1}'
        socket.send_multipart(changed)
        for header, content in (
            (b"[]", b"{}"),
            (b"{", b"{}"),
            (b"\xff\xfe", b"{}"),
            (b'{"msg_type": 5}', b"{}"),
            (b'{"msg_type": "execute_request"}', b"null"),
            (b'{"msg_type": "execute_request"}', b'{"code": 5}'),
            (b'{"msg_type": "execute_request"}', b'{"code": "1", "silent": "maybe"}'),
            (b'{"msg_type": "complete_request"}', b'{"code": "x", "cursor_pos": -7}'),
            (b'{"msg_type": "history_request"}', b'{"hist_access_type": []}'),
            (b'{"msg_type": "input_reply"}', b'{"value": {}}'),
            (b'{"msg_type": "nobody_knows_this"}', b"{}"),
            (b'{"msg_type": "a", "msg_type": "b"}', b'{"a": 1, "a": 2}'),
            (b'{"msg_type": "kernel_info_request"}', b"[" * 5000),
        ):
            parts = [header, b"{}", b"{}", content]
            socket.send_multipart([b"<IDS|MSG>", session.sign(parts)] + parts)
        time.sleep(0.2)
        while socket.poll(200):
            reply = socket.recv_multipart()
            kind = json.loads(reply[2])["msg_type"]
            expect(kind != "kernel_info_reply", f"{name} answered a forged message")
        socket.close()
    expect(result(k.run("40 + 2")[1])["text/plain"] == "42", "the kernel died")


def check_it_listens_on_this_machine_only(k):
    ports = {getattr(k.manager, name + "_port") for name in ("shell", "control", "stdin", "iopub", "hb")}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as file:
            for line in file.readlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                address, port = local.split(":")
                if state == "0A" and int(port, 16) in ports:
                    found.add(int(port, 16))
                    expect(address == "0100007F", local)
    expect(found == ports, (found, ports))


def check_two_kernels_side_by_side(k):
    other = Kernel()
    try:
        k.run("let mine = 1")
        expect(other.run("mine")[0]["status"] == "error", "they share definitions")
        ids = [(each, each.client.execute("System.Threading.Thread.Sleep 300\n7")) for each in (k, other)]
        for each, id in ids:
            expect(result(each.finish(id)[1])["text/plain"] == "7")
    finally:
        other.stop()
    expect(result(k.run("mine")[1])["text/plain"] == "1", "the first one suffered")


def check_output_of_50_megabytes(k):
    _, seen = k.run('let line = System.String(\'x\', 99)\nfor _ in 1 .. 500000 do System.Console.WriteLine line')
    expect(len(text(seen)) == 50_000_000, len(text(seen)))
    _, seen = k.run("HTML(System.String('y', 50000000))")
    expect(len(result(seen)["text/html"]) == 50_000_000, "html")


def check_a_thousand_quick_cells(k):
    k.run("System.GC.Collect()")
    for _ in range(200):
        k.run("1 + 1")
    before = k.memory()
    times = []
    for _ in range(800):
        begun = time.perf_counter()
        k.run("1 + 1")
        times.append(time.perf_counter() - begun)
    k.run("System.GC.Collect()")
    growth = (k.memory() - before) / 800
    expect(growth < 150_000, f"{growth / 1024:.0f} KB a cell")
    return f"median {1000 * statistics.median(times):.1f} ms, {growth / 1024:.0f} KB a cell, {k.memory() >> 20} MB in all"


def check_restart(k):
    k.run("let gone = 1")
    former = k.pid
    k.manager.restart_kernel()
    k.client.stop_channels()
    k.connect()
    reply, _ = k.run("gone")
    expect(k.pid != former and reply["status"] == "error" and reply["execution_count"] == 1, reply)


def check_shutdown(k):
    id = k.client.execute("while true do ()")
    time.sleep(0.5)
    message = k.client.session.msg("shutdown_request", {"restart": False})
    k.client.control_channel.send(message)
    reply = k.reply(message["header"]["msg_id"], "control")
    expect(reply == {"status": "ok", "restart": False}, reply)
    for _ in range(50):
        if not k.manager.is_alive():
            return
        time.sleep(0.1)
    expect(False, "it lives on")


def main():
    kernel = Kernel()
    failed = False
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        begun = time.time()
        try:
            detail = check(kernel) or ""
            ok = True
        except Exception:
            detail, ok, failed = traceback.format_exc(), False, True
        print(json.dumps({"name": name, "ok": ok, "detail": f"{detail} ({time.time() - begun:.1f} s)"}), flush=True)
        if not ok and not kernel.manager.is_alive():
            kernel = Kernel()
    kernel.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
