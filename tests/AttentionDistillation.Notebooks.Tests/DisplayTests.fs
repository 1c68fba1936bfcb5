module AttentionDistillation.Notebooks.Tests.DisplayTests

open System
open System.Collections.Generic
open System.IO
open AttentionDistillation.Notebooks
open AttentionDistillation.Runtime
open Microsoft.DotNet.Interactive.Formatting
open Xunit

type private Recorder() =
    member val Shown = List<string * MimeBundle>()
    member val Updated = List<string * MimeBundle>()

    interface IDisplaySink with
        member this.Display(id, bundle) = this.Shown.Add((id, bundle))
        member this.Update(id, bundle) = this.Updated.Add((id, bundle))

let private recorded (action: unit -> unit) =
    let recorder = Recorder()
    let former = Display.Sink
    Display.Sink <- recorder

    try
        action ()
    finally
        Display.Sink <- former

    recorder

type Point = { X: int; Note: int option }

[<Fact>]
let ``a display goes to the sink and its update bears the same identity`` () =
    let recorder =
        recorded (fun () ->
            let handle = display "one"
            handle.Update(HTML "<b>two</b>"))

    let id, first = Assert.Single recorder.Shown
    let updated, second = Assert.Single recorder.Updated
    Assert.Equal(id, updated)
    Assert.Equal("one", first["text/plain"])
    Assert.Equal("<b>two</b>", second["text/html"])

[<Fact>]
let ``records in a sequence are rows of a table`` () =
    let bundle = MimeBundle.ofValue [ { X = 1; Note = None }; { X = 2; Note = Some 3 } ]
    Assert.Contains(">Note</th>", bundle["text/html"])
    Assert.Contains(">None</td>", bundle["text/html"])
    Assert.Contains(">Some 3</td>", bundle["text/html"])

type Series<'T>(values: 'T list) =
    member _.Values = values

    interface System.Collections.IEnumerable with
        member _.GetEnumerator() =
            (values :> System.Collections.IEnumerable).GetEnumerator()

[<Fact>]
let ``a formatter of a generic type serves all its types`` () =
    Formatter.Register(typedefof<Series<_>>, Action<obj, TextWriter>(fun _ writer -> writer.Write "<hr>"), "text/html")
    let bundle = MimeBundle.ofValue (Series [ 1; 2 ])
    Assert.Equal("<hr>", bundle["text/html"])
    Assert.True(bundle.ContainsKey "text/plain")

[<Fact>]
let ``plain values have plain text only`` () =
    for value in [ box 1; box "a"; box (Some 2); box [ 1.5 ]; box (1, 'c') ] do
        Assert.Equal<string list>([ "text/plain" ], [ for form in MimeBundle.ofValue value -> form.Key ])

[<Fact>]
let ``live progress is one display with a line per task, throttled, that ends in its last state`` () =
    let recorder =
        recorded (fun () ->
            let live = LiveProgress()
            let ids = [ Guid.NewGuid(); Guid.NewGuid() ]

            for id in ids do
                for step in 1L .. 100L do
                    (live :> IProgressSink)
                        .Report(
                            ProgressState(
                                id,
                                "a <student>",
                                step,
                                100L,
                                "step",
                                "loss 1",
                                TimeSpan.FromSeconds 1.0,
                                (step = 100L)
                            )
                        )

            live.Flush())

    let id, _ = Assert.Single recorder.Shown
    let updated, last = recorder.Updated[recorder.Updated.Count - 1]
    Assert.Equal(id, updated)
    Assert.True(recorder.Updated.Count < 100, "200 reports in no time must not become 200 updates")
    Assert.Equal("a <student>: 100 steps, 1.0 s, loss 1\na <student>: 100 steps, 1.0 s, loss 1", last["text/plain"])
    Assert.Contains("a &lt;student&gt;", last["text/html"])
