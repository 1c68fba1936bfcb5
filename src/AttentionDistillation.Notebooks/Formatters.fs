namespace AttentionDistillation.Notebooks

open System
open System.Globalization
open System.IO
open System.Net
open Deedle
open Microsoft.DotNet.Interactive.Formatting
open Plotly.NET
open TorchSharp
open AttentionDistillation.Attention
open AttentionDistillation.Experiments
open AttentionDistillation.Losses

/// How values of this library appear in a notebook.
module Formatters =

    /// Rows of a Deedle frame that are shown; more are counted.
    [<Literal>]
    let FrameRows = 30

    /// Columns of a Deedle frame that are shown; more are counted.
    [<Literal>]
    let FrameColumns = 20

    /// Rows and columns of a tensor that are shown.
    [<Literal>]
    let TensorPreview = 6

    /// Layers of a module that are shown; more are counted.
    [<Literal>]
    let ModuleRows = 150

    let private encode (text: string) = WebUtility.HtmlEncode text |> string

    let private short (value: float) =
        value.ToString("G4", CultureInfo.InvariantCulture)

    let private count (value: int64) =
        value.ToString("N0", CultureInfo.InvariantCulture)

    let private column title digits = {
        Title = title
        Group = ""
        Direction = NoBest
        Digits = digits
    }

    type private FrameCut() =
        interface IFrameOperation<Table * int * int> with
            member _.Invoke<'R, 'C when 'R: equality and 'C: equality>(frame: Frame<'R, 'C>) =
                let rows, columns = frame.RowCount, frame.ColumnCount

                let shown =
                    frame
                    |> Frame.take (min rows FrameRows)
                    |> Frame.sliceCols (frame.ColumnKeys |> Seq.truncate FrameColumns)

                Table.ofFrame shown, rows, columns

    let private frameParts (frame: IFrame) =
        let table, rows, columns = frame.Apply(FrameCut())

        let note =
            if rows > FrameRows || columns > FrameColumns then
                $"{min rows FrameRows} of {rows} rows, {min columns FrameColumns} of {columns} columns"
            else
                $"{rows} rows, {columns} columns"

        table, note

    /// The tensor in one line: shape, type, device and moments.
    let internal tensorLine (tensor: torch.Tensor) =
        let kind =
            $"Tensor {TensorInterop.shapeText tensor} {tensor.dtype} on {tensor.device}"

        if tensor.IsInvalid then
            "Tensor (disposed)"
        elif tensor.numel () = 0L || tensor.is_complex () then
            kind
        elif tensor.numel () = 1L then
            $"{kind}: {short (TensorInterop.scalar tensor)}"
        else
            use scope = torch.NewDisposeScope()
            use noGradient = torch.no_grad ()
            // Moments are taken where the tensor lies: only four numbers travel.
            let values = tensor.detach().``to`` torch.ScalarType.Float32
            let finite = values.isfinite ()
            let number (value: torch.Tensor) = short (float (value.ToSingle()))
            let bad = tensor.numel () - finite.sum().cpu().ToInt64()
            let values = if bad = 0L then values else values.masked_select finite

            let moments =
                if values.numel () = 0L then
                    ""
                else
                    let spread = if values.numel () > 1L then $", sd {number (values.std ())}" else ""
                    $": min {number (values.min ())}, mean {number (values.mean ())}, max {number (values.max ())}{spread}"

            let warning = if bad = 0L then "" else $", {count bad} not finite"
            kind + moments + warning

    /// The first rows and columns of the first matrix of a tensor.
    let private preview (tensor: torch.Tensor) =
        use scope = torch.NewDisposeScope()
        use noGradient = torch.no_grad ()
        let mutable inner = tensor.detach ()

        while inner.dim () > 2L do
            inner <- inner[0L]

        let limit = int64 TensorPreview
        let inner = if inner.dim () = 1L then inner.unsqueeze 0L else inner

        let cut =
            inner.narrow(0L, 0L, min limit inner.shape[0]).narrow(1L, 0L, min limit inner.shape[1])

        let more = inner.shape[0] > limit, inner.shape[1] > limit
        TensorInterop.matrix cut, more

    let private hasPreview (tensor: torch.Tensor) =
        not tensor.IsInvalid && tensor.numel () > 1L && not (tensor.is_complex ())

    let private tensorHtml (tensor: torch.Tensor) =
        let line = if tensor.IsInvalid then "Tensor (disposed)" else tensorLine tensor
        let head = $"<div style=\"font-size:13px;color:#1f2933\">{encode line}</div>"

        if not (hasPreview tensor) then
            head
        else
            let values, (moreRows, moreColumns) = preview tensor

            let cell (text: string) =
                $"<td style=\"text-align:right;padding:1px 8px;border:none;font-variant-numeric:tabular-nums\">{text}</td>"

            let width = Array2D.length2 values

            let rows = [
                for row in 0 .. Array2D.length1 values - 1 do
                    let cells = [ for column in 0 .. width - 1 -> cell (short values[row, column]) ]

                    "<tr>"
                    + String.concat "" cells
                    + (if moreColumns then cell "…" else "")
                    + "</tr>"
                if moreRows then
                    "<tr>" + String.concat "" (List.replicate width (cell "⋮")) + "</tr>"
            ]

            let where =
                if tensor.dim () > 2L then
                    $"<div style=\"font-size:11px;color:#52606d\">first matrix of {tensor.dim ()} dimensions</div>"
                else
                    ""

            $"{head}<table style=\"border-collapse:collapse;font-size:12px;color:#1f2933;background:white\">{String.concat String.Empty rows}</table>{where}"

    let private tensorPlain (tensor: torch.Tensor) =
        if not (hasPreview tensor) then
            (if tensor.IsInvalid then "Tensor (disposed)" else tensorLine tensor)
        else
            let values, (moreRows, moreColumns) = preview tensor

            let rows = [
                for row in 0 .. Array2D.length1 values - 1 do
                    let cells = [
                        for column in 0 .. Array2D.length2 values - 1 -> (short values[row, column]).PadLeft 10
                    ]

                    String.concat " " cells + (if moreColumns then " ..." else "")
                if moreRows then
                    "       ..."
            ]

            String.concat "\n" (tensorLine tensor :: rows)

    /// A module's layers that own parameters, with their counts, and the total.
    let internal moduleTable (m: torch.nn.Module) : Table =
        let layers = [|
            for struct (name, layer) in Seq.append [ struct ("", m) ] (m.named_modules ()) do
                let own = layer.named_parameters false |> Seq.toArray

                if own.Length > 0 then
                    let shapes = [
                        for struct (parameter, value) in own -> $"{parameter} {TensorInterop.shapeText value}"
                    ]

                    (if name = "" then "(itself)" else name),
                    layer.GetType().Name,
                    String.concat ", " shapes,
                    own |> Array.sumBy (fun (struct (_, value)) -> value.numel ())
        |]

        // Shared parameters (a tied embedding) count once.
        let distinct = m.parameters () |> Seq.distinctBy _.Handle |> Seq.toArray
        let total = distinct |> Array.sumBy _.numel()
        let trained = distinct |> Array.filter _.requires_grad |> Array.sumBy _.numel()

        let rows = [
            for name, kind, shapes, size in Array.truncate ModuleRows layers do
                name, [| Cell.Text kind; Cell.Text shapes; Cell.FromPaper(float size, "") |]
            if layers.Length > ModuleRows then
                $"… {layers.Length - ModuleRows} more", [| Cell.Missing; Cell.Missing; Cell.Missing |]
            "total", [| Cell.Text(m.GetType().Name); Cell.Text ""; Cell.FromPaper(float total, "") |]
        ]

        Table.create (
            [ column "Type" 0; column "Own parameters" 0; column "Count" 0 ],
            rows,
            caption = $"{m.GetType().Name}: {count total} parameters",
            rowTitle = "Layer",
            notes = [
                (if trained = total then
                     "all are trained"
                 else
                     $"{count trained} of them are trained")
            ]
        )

    /// Terms of a loss with weights and shares of the total.
    let internal lossTable (terms: LossTerms) : Table =
        let rows = [
            for struct (name, value, weight) in terms.Terms do
                let value = TensorInterop.scalar value

                name,
                [|
                    Cell.FromPaper(value, "")
                    Cell.FromPaper(weight, "")
                    Cell.FromPaper(value * weight, "")
                |]
            if terms.Terms.Count > 0 then
                "total",
                [|
                    Cell.Missing
                    Cell.Missing
                    Cell.FromPaper(TensorInterop.scalar terms.Total, "")
                |]
        ]

        Table.create ([ column "Value" 5; column "Weight" 3; column "Weighted" 5 ], rows, rowTitle = "Loss term")

    /// Digits that leave three significant ones of the largest value.
    let private digitsOf (values: float seq) =
        let largest =
            values |> Seq.filter Double.IsFinite |> Seq.map abs |> Seq.fold max 0.0

        if largest = 0.0 then 1 else max 0 (min 6 (2 - int (floor (log10 largest))))

    /// Mean ± standard deviation over seeds of every metric of an ablation, a row per variant. Which values are best is not known here, so none is bold.
    let internal ablationTable (result: AblationResult) : Table =
        let metrics = result.Metrics

        let failures = [
            for failure in result.Failures ->
                $"{failure.Variant}, seed {failure.Seed}: {failure.ExceptionType}: {failure.Message}"
        ]

        let notes = Seq.append failures result.Notes

        if metrics.Count = 0 then
            Table.create (
                [ column "Cells" 0 ],
                [
                    for variant in result.Variants ->
                        let failed =
                            result.Failures |> Seq.filter (fun each -> each.Variant = variant) |> Seq.length

                        variant, [| Cell.Text(if failed = 0 then "not run" else $"{failed} failed") |]
                ],
                caption = result.Study,
                notes = notes
            )
        else
            let measurements = [
                for variant in result.Variants do
                    for metric in metrics do
                        for row in result.Rows do
                            if row.Variant = variant && row.Metric = metric then
                                {
                                    Variant = variant
                                    Metric = metric
                                    Seed = int row.Seed
                                    Value = row.Value
                                }

                        for failure in result.Failures do
                            if failure.Variant = variant then
                                {
                                    Variant = variant
                                    Metric = metric
                                    Seed = int failure.Seed
                                    Value = nan
                                }
            ]

            Table.ofMeasurements (
                measurements,
                directions = [ for metric in metrics -> metric, NoBest ],
                metricDigits = [
                    for metric in metrics ->
                        metric,
                        result.Rows
                        |> Seq.filter (fun row -> row.Metric = metric)
                        |> Seq.map _.Value
                        |> digitsOf
                ],
                caption = result.Study,
                notes = notes
            )

    let private ablationCellTable (cell: AblationCell) : Table =
        let origin = if cell.FromCache then ", from the cache" else ""

        Table.create (
            [ column "Value" 4 ],
            [
                for metric in cell.Metrics -> metric.Key, [| Cell.FromPaper(metric.Value, "") |]
            ],
            caption = $"{cell.Variant}, seed {cell.Seed}: {short cell.Seconds} s{origin}",
            rowTitle = "Metric"
        )

    /// An exception as a value: its message and those of its causes. Stacks belong to errors of cells, which have them.
    let rec private exceptionLines (error: exn) = [
        $"{error.GetType().Name}: {error.Message}"
        match error.InnerException with
        | null -> ()
        | inner ->
            for line in exceptionLines inner do
                $"caused by {line}"
    ]

    let private exceptionHtml (error: exn) =
        let lines = exceptionLines error |> List.map encode |> String.concat "<br>"
        $"<div style=\"font-family:monospace;white-space:pre-wrap;color:#9b1c1c\">{lines}</div>"

    let private stateLine (state: AttentionState) =
        let keys = TensorInterop.shapeText state.Key
        let causal = if state.IsCausal then ", causal" else ""
        $"AttentionState: query {TensorInterop.shapeText state.Query}, key {keys}, scale {short state.Scale}{causal}"

    /// One type: its texts by MIME type, the preferred one first.
    let private add<'T> (texts: (string * ('T -> string)) list) =
        // What a type says of itself by attribute is taken in at the first question; asked here, it does not overrule what comes next.
        Formatter.GetPreferredMimeTypesFor typeof<'T> |> ignore

        for mime, write in texts do
            Formatter.Register<'T>(Action<'T, TextWriter>(fun value writer -> writer.Write(write value)), mime)

        Formatter.SetPreferredMimeTypesFor(typeof<'T>, texts |> List.map fst |> List.toArray)

    let private gate = obj ()

    let private registered () =
        Formatter.RegisteredFormatters false
        |> Seq.exists (fun formatter -> formatter.Type = typeof<Table>)

    /// Registers how charts, tables, Deedle frames, tensors, modules, attention states and loss terms appear. Calling it again does nothing.
    /// Charts appear as figure JSON (application/vnd.plotly.v1+json) and as HTML that loads plotly.js once per page; everything has a text/plain form.
    let register () : unit =
        lock gate (fun () ->
            if not (registered ()) then
                add<GenericChart> [
                    ChartOutput.PlotlyMime, ChartOutput.json
                    HtmlFormatter.MimeType, ChartOutput.html
                    PlainTextFormatter.MimeType, ChartOutput.plain
                ]

                add<Table> [
                    HtmlFormatter.MimeType, _.ToHtml()
                    PlainTextFormatter.MimeType, _.ToMarkdown()
                ]

                add<IFrame> [
                    HtmlFormatter.MimeType,
                    (fun frame ->
                        let table, note = frameParts frame
                        $"{table.ToHtml()}<div style=\"font-size:11px;color:#52606d\">{note}</div>")
                    PlainTextFormatter.MimeType,
                    (fun frame ->
                        let table, note = frameParts frame
                        $"{table.ToMarkdown()}\n\n{note}")
                ]

                add<torch.Tensor> [ HtmlFormatter.MimeType, tensorHtml; PlainTextFormatter.MimeType, tensorPlain ]

                add<torch.nn.Module> [
                    HtmlFormatter.MimeType, (fun m -> (moduleTable m).ToHtml())
                    PlainTextFormatter.MimeType, (fun m -> (moduleTable m).ToMarkdown())
                ]

                add<AttentionState> [
                    ChartOutput.PlotlyMime, (fun state -> ChartOutput.json (Plot.attentionOf state))
                    HtmlFormatter.MimeType, (fun state -> ChartOutput.html (Plot.attentionOf state))
                    PlainTextFormatter.MimeType, stateLine
                ]

                add<AblationResult> [
                    HtmlFormatter.MimeType, (fun result -> (ablationTable result).ToHtml())
                    PlainTextFormatter.MimeType, (fun result -> (ablationTable result).ToMarkdown())
                ]

                add<AblationCell> [
                    HtmlFormatter.MimeType, (fun cell -> (ablationCellTable cell).ToHtml())
                    PlainTextFormatter.MimeType, (fun cell -> (ablationCellTable cell).ToMarkdown())
                ]

                add<exn> [
                    HtmlFormatter.MimeType, exceptionHtml
                    PlainTextFormatter.MimeType, exceptionLines >> String.concat "\n"
                ]

                add<LossTerms> [
                    HtmlFormatter.MimeType, (fun terms -> (lossTable terms).ToHtml())
                    PlainTextFormatter.MimeType, (fun terms -> (lossTable terms).ToMarkdown())
                ])
