namespace AttentionDistillation.Notebooks

open System
open System.Collections.Generic
open System.Diagnostics
open System.Globalization
open System.Net
open System.Text
open AttentionDistillation.Runtime

/// Shows progress below the cell that makes it: a line per task in one updatable display, which also works in a plain Jupyter client.
[<Sealed>]
type LiveProgress() =
    // Four updates a second look live and cost a client little.
    static let leastInterval = TimeSpan.FromMilliseconds 250.0
    // With more finished tasks than this, they fold away behind their count.
    static let unfoldedLimit = 8

    let gate = obj ()
    let states = List<ProgressState>()
    let clock = Stopwatch.StartNew()
    let mutable lastUpdate = -leastInterval
    let mutable handle: DisplayHandle option = None
    let mutable context: obj | null = null

    static let duration (time: TimeSpan) =
        if time.TotalMinutes < 1.0 then
            time.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture) + " s"
        elif time.TotalHours < 1.0 then
            $"{time.Minutes} min {time.Seconds:D2} s"
        else
            $"{int time.TotalHours} h {time.Minutes:D2} min"

    static let count (state: ProgressState) =
        let unit =
            if state.Done = 1L && state.Total <= 1L then state.Unit else state.Unit + "s"

        if state.Total > 0L && not (state.Finished && state.Done = state.Total) then
            $"{state.Done}/{state.Total} {unit}"
        else
            $"{state.Done} {unit}"

    static let encode (words: string) : string =
        match WebUtility.HtmlEncode words with
        | null -> ""
        | encoded -> encoded

    static let row (state: ProgressState) =
        let cell (style: string) (text: string) =
            $"<td style=\"text-align:left;padding:1px 10px 1px 0;{style}\">{text}</td>"

        let bar =
            if state.Finished then
                let complete = state.Total <= 0L || state.Done >= state.Total
                if complete then "&#10003;" else "&#9632;"
            elif state.Total > 0L then
                $"<progress max=\"{state.Total}\" value=\"{state.Done}\" style=\"width:12em;vertical-align:middle\"></progress>"
            else
                "<progress style=\"width:12em;vertical-align:middle\"></progress>"

        String.concat "" [
            "<tr>"
            cell "" bar
            cell "white-space:nowrap" (encode state.Label)
            cell "white-space:nowrap;opacity:.75" (count state)
            cell "white-space:nowrap;opacity:.75" (duration state.Elapsed)
            cell "opacity:.75" (encode state.Message)
            "</tr>"
        ]

    static let table (rows: ProgressState seq) =
        let body = rows |> Seq.map row |> String.concat ""
        $"<table style=\"border-collapse:collapse;font-size:90%%;margin:0\"><tbody>{body}</tbody></table>"

    static let html (all: ProgressState seq) =
        let finished, running = all |> List.ofSeq |> List.partition _.Finished

        if finished.Length <= unfoldedLimit then
            table all
        else
            let folded =
                $"<details><summary style=\"font-size:90%%\">&#10003; {finished.Length} tasks finished</summary>{table finished}</details>"

            if running.IsEmpty then folded else folded + table running

    static let text (all: ProgressState seq) =
        let lines = StringBuilder()

        for state in all do
            lines.Append($"{state.Label}: {count state}, {duration state.Elapsed}")
            |> ignore

            if state.Message <> "" then
                lines.Append(", ").Append(state.Message) |> ignore

            lines.Append '\n' |> ignore

        lines.ToString().TrimEnd()

    let show () =
        lastUpdate <- clock.Elapsed

        let bundle =
            MimeBundle.create [ MimeBundle.HtmlMimeType, html states; MimeBundle.TextMimeType, text states ]

        match handle with
        | None -> handle <- Some(DisplayHandle bundle)
        | Some handle -> handle.UpdateBundle bundle

    // Without a place that can be updated in place, a console only gets the last line of a task.
    let updatable () =
        not (isNull Display.Sink) || not (isNull Display.HostContext)

    /// Starts afresh: what comes next is shown below the next cell. Called by the program that runs the notebook at the start of a cell.
    member _.Reset() =
        lock gate (fun () ->
            states.Clear()
            handle <- None
            lastUpdate <- clock.Elapsed - leastInterval)

    /// Shows the latest state of every task, whatever the throttle held back. Called at the end of a cell.
    member _.Flush() =
        lock gate (fun () ->
            if states.Count > 0 && updatable () then
                show ())

    /// Shows progress in a host that does not set a sink itself (.NET Interactive, Verso, dotnet fsi); does nothing where one is set.
    static member Install() =
        if isNull Progress.Sink then
            Progress.Sink <- LiveProgress()

    interface IProgressSink with
        member this.Report(state: ProgressState) =
            lock gate (fun () ->
                if not (updatable ()) then
                    if state.Finished then
                        Console.Out.WriteLine(text [ state ])
                else
                    let now = Display.HostContext

                    if not (obj.ReferenceEquals(now, context)) then
                        context <- now
                        this.Reset()

                    match states.FindIndex(fun known -> known.Id = state.Id) with
                    | -1 -> states.Add state
                    | index -> states[index] <- state

                    if
                        state.Finished && states.TrueForAll _.Finished
                        || clock.Elapsed - lastUpdate >= leastInterval
                    then
                        show ())
