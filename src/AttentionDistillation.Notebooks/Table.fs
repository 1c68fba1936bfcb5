namespace AttentionDistillation.Notebooks

open System
open Deedle

/// Rows of variants and columns of metrics, ours beside a paper's. Shows as HTML in a notebook, as Markdown through ToString, as LaTeX through ToLatex.
/// Values over seeds appear as mean ± sample standard deviation, the best of a column in bold, a missing cell as an em dash,
/// failed seeds as "failed (n of m seeds)".
[<Sealed>]
type Table private (content: TableContent) =

    static let key (group: string, metric: string) = struct (group, metric)

    static let noteOfMarks (published: Published[]) =
        if published |> Array.exists (fun item -> item.Mark.Contains '†') then
            [| "† published, but not seen in its source" |]
        else
            [||]

    /// Heading of the table; "" for none.
    member _.Caption = content.Caption

    /// The columns, left to right.
    member _.Columns: Column[] = Array.copy content.Columns

    /// Labels and cells, top to bottom.
    member _.Rows: (string * Cell[])[] = Array.copy content.Rows

    /// Notes below the table: the number of seeds, what marks mean.
    member _.Notes: string[] = content.Notes

    /// True when a cell (numbered from 0) holds its column's best value as shown; equal values share it, reference rows do not compete.
    member _.IsBest(row: int, column: int) : bool = content.IsBest(row, column)

    /// Means and published numbers as a Deedle frame: a row per variant, a column per column ("metric (group)"), missing where there is none.
    member _.ToFrame() : Frame<string, string> = content.ToFrame()

    /// A styled HTML table that needs no style sheet.
    member _.ToHtml() : string = TableText.html content

    /// A Markdown table, aligned.
    member _.ToMarkdown() : string = TableText.markdown content

    /// A LaTeX table; needs the package booktabs.
    member _.ToLatex() : string = TableText.latex content

    /// Markdown.
    override _.ToString() = TableText.markdown content

    /// <summary>A table from parts.</summary>
    /// <param name="columns">The columns.</param>
    /// <param name="rows">Label and cells of each row, one cell per column.</param>
    /// <param name="caption">Heading.</param>
    /// <param name="rowTitle">Title of the labels. Default "Variant".</param>
    /// <param name="reference">Labels of rows that do not compete for bold, for example the teacher.</param>
    /// <param name="notes">Further notes below the table.</param>
    /// <exception cref="System.ArgumentException">No columns, or a row with another number of cells.</exception>
    static member create
        (
            columns: Column seq,
            rows: (string * Cell[]) seq,
            ?caption: string,
            ?rowTitle: string,
            ?reference: string seq,
            ?notes: string seq
        ) : Table =
        let columns = Seq.toArray columns

        if columns.Length = 0 then
            invalidArg (nameof columns) "A table needs at least one column. Pass the columns that the rows' cells belong to."

        Table(
            TableContent(
                defaultArg caption "",
                defaultArg rowTitle "Variant",
                columns,
                Seq.toArray rows,
                Set.ofSeq (defaultArg reference Seq.empty),
                Seq.toArray (defaultArg notes Seq.empty)
            )
        )

    /// <summary>A table of words: titles and texts as they are, nothing in bold.</summary>
    /// <param name="columns">Titles.</param>
    /// <param name="rows">Label and texts of each row, one text per column.</param>
    /// <param name="caption">Heading.</param>
    /// <param name="rowTitle">Title of the labels. Default "".</param>
    /// <param name="notes">Further notes below the table.</param>
    /// <exception cref="System.ArgumentException">No columns, or a row with another number of texts.</exception>
    static member ofText
        (columns: string seq, rows: (string * string list) seq, ?caption: string, ?rowTitle: string, ?notes: string seq)
        : Table =
        let column title = {
            Title = title
            Group = ""
            Direction = NoBest
            Digits = 0
        }

        Table.create (
            Seq.map column columns,
            [ for label, texts in rows -> label, [| for text in texts -> Cell.Text text |] ],
            ?caption = caption,
            rowTitle = defaultArg rowTitle "",
            ?notes = notes
        )

    /// <summary>Measurements over seeds, a row per variant and a column per metric in order of appearance; published numbers in columns beside ours.</summary>
    /// <param name="measurements">Variant, metric, seed and value; a value that is not finite is a failed seed.</param>
    /// <param name="published">The paper's numbers; rows and metrics that only the paper has are kept.</param>
    /// <param name="directions">Metrics of which less is better, or that have no best. Default: HigherIsBetter.</param>
    /// <param name="digits">Digits after the point. Default 1.</param>
    /// <param name="metricDigits">Digits of single metrics.</param>
    /// <param name="reference">Variants that do not compete for bold, for example the teacher.</param>
    /// <param name="caption">Heading.</param>
    /// <param name="rowTitle">Title of the labels. Default "Variant".</param>
    /// <param name="notes">Further notes below the table.</param>
    /// <exception cref="System.ArgumentException">Nothing to show, or the same variant, metric and seed twice.</exception>
    static member ofMeasurements
        (
            measurements: Measurement seq,
            ?published: Published seq,
            ?directions: (string * MetricDirection) seq,
            ?digits: int,
            ?metricDigits: (string * int) seq,
            ?reference: string seq,
            ?caption: string,
            ?rowTitle: string,
            ?notes: string seq
        ) : Table =
        let measurements = Seq.toArray measurements
        let published = Seq.toArray (defaultArg published Seq.empty)

        if measurements.Length = 0 && published.Length = 0 then
            invalidArg
                (nameof measurements)
                "There are no measurements to tabulate. Pass at least one; if a filter made the sequence, check its condition."

        match
            measurements
            |> Seq.countBy (fun item -> struct (item.Variant, item.Metric, item.Seed))
            |> Seq.tryFind (fun (_, count) -> count > 1)
        with
        | Some(struct (variant, metric, seed), count) ->
            invalidArg
                (nameof measurements)
                $"'{variant}', '{metric}', seed {seed} was measured {count} times. Keep one value per variant, metric and seed."
        | None -> ()

        match
            published
            |> Seq.countBy (fun item -> struct (item.Variant, item.Metric))
            |> Seq.tryFind (fun (_, count) -> count > 1)
        with
        | Some(struct (variant, metric), count) ->
            invalidArg
                (nameof published)
                $"'{variant}', '{metric}' was published {count} times. Keep one number per variant and metric."
        | None -> ()

        let directions, metricDigits =
            dict (defaultArg directions Seq.empty), dict (defaultArg metricDigits Seq.empty)

        let digits = defaultArg digits 1
        let has (found: bool, value) fallback = if found then value else fallback

        let metrics =
            Seq.append (measurements |> Seq.map _.Metric) (published |> Seq.map _.Metric)
            |> Seq.distinct
            |> Seq.toArray

        let variants =
            Seq.append (measurements |> Seq.map _.Variant) (published |> Seq.map _.Variant)
            |> Seq.distinct
            |> Seq.toArray

        let ours =
            measurements
            |> Array.groupBy (fun item -> key (item.Variant, item.Metric))
            |> dict

        let theirs =
            published
            |> Array.map (fun item -> key (item.Variant, item.Metric), item)
            |> dict

        let hasOurs, hasTheirs = measurements.Length > 0, published.Length > 0

        let columns = [|
            for metric in metrics do
                let column group = {
                    Title = group
                    Group = metric
                    Direction = has (directions.TryGetValue metric) HigherIsBetter
                    Digits = has (metricDigits.TryGetValue metric) digits
                }

                if not (hasOurs && hasTheirs) then
                    {
                        column "" with
                            Title = metric
                            Group = ""
                    }
                else
                    if measurements |> Array.exists (fun item -> item.Metric = metric) then
                        column "ours"

                    if published |> Array.exists (fun item -> item.Metric = metric) then
                        column "paper"
        |]

        let cell variant (column: Column) =
            let metric = if column.Group = "" then column.Title else column.Group
            let wantsPaper = column.Group <> "" && column.Title = "paper" || not hasOurs

            if wantsPaper then
                match theirs.TryGetValue(key (variant, metric)) with
                | true, item -> Cell.FromPaper(item.Value, item.Mark)
                | _ -> Cell.Missing
            else
                match ours.TryGetValue(key (variant, metric)) with
                | true, items ->
                    let finite, failed = items |> Array.map _.Value |> Array.partition Double.IsFinite
                    Cell.Measured(finite, failed.Length)
                | _ -> Cell.Missing

        Table.create (
            columns,
            [ for variant in variants -> variant, columns |> Array.map (cell variant) ],
            ?caption = caption,
            ?rowTitle = rowTitle,
            ?reference = reference,
            notes = Seq.append (noteOfMarks published) (defaultArg notes Seq.empty)
        )

    /// <summary>Mean, sample standard deviation, number of finished seeds and of failed seeds, as a Deedle frame: a row per variant, and for each metric
    /// the columns "metric mean", "metric sd", "metric n" and "metric failed".</summary>
    /// <param name="measurements">Variant, metric, seed and value; a value that is not finite is a failed seed.</param>
    static member summarise(measurements: Measurement seq) : Frame<string, string> =
        let measurements = Seq.toArray measurements

        if measurements.Length = 0 then
            invalidArg (nameof measurements) "There are no measurements to summarise. Pass at least one."

        let variants = measurements |> Array.map _.Variant |> Array.distinct

        let column name (values: (string * float)[]) =
            name, Series.ofObservations values |> Series.realign variants

        [
            for metric, own in measurements |> Array.groupBy _.Metric do
                let cells =
                    own
                    |> Array.groupBy _.Variant
                    |> Array.map (fun (variant, items) -> variant, items |> Array.map _.Value |> Array.partition Double.IsFinite)

                column $"{metric} mean" (cells |> Array.map (fun (variant, (finite, _)) -> variant, PlotData.mean finite))

                column
                    $"{metric} sd"
                    (cells
                     |> Array.map (fun (variant, (finite, _)) -> variant, PlotData.deviation finite))

                column $"{metric} n" (cells |> Array.map (fun (variant, (finite, _)) -> variant, float finite.Length))
                column $"{metric} failed" (cells |> Array.map (fun (variant, (_, failed)) -> variant, float failed.Length))
        ]
        |> Frame.ofColumns

    /// <summary>Any Deedle frame as a table: numbers are shown with the given digits, missing values as an em dash, anything else as text.</summary>
    /// <param name="frame">The frame; row keys become labels.</param>
    /// <param name="digits">Digits after the point of numbers that are not whole. Default 3.</param>
    /// <param name="directions">Columns whose best value is set in bold. Default: none.</param>
    /// <param name="caption">Heading.</param>
    /// <param name="rowTitle">Title of the labels. Default "".</param>
    static member ofFrame
        (
            frame: Frame<'Row, 'Column>,
            ?digits: int,
            ?directions: (string * MetricDirection) seq,
            ?caption: string,
            ?rowTitle: string
        ) : Table =
        let directions = dict (defaultArg directions Seq.empty)
        let names = frame.ColumnKeys |> Seq.map string |> Seq.toArray

        let numbers (value: obj) =
            match value with
            | :? float as number -> Some number
            | :? float32 as number -> Some(float number)
            | :? int as number -> Some(float number)
            | :? int64 as number -> Some(float number)
            | :? decimal as number -> Some(float number)
            | _ -> None

        let columns = frame.Columns |> Series.observations |> Seq.map snd |> Seq.toArray

        let parts =
            columns
            |> Array.mapi (fun index column ->
                let values = column |> Series.observations |> Seq.map snd |> Seq.toArray

                let whole =
                    values
                    |> Array.forall (fun value ->
                        match numbers value with
                        | Some number -> number = Math.Floor number
                        | None -> true)

                let found, direction = directions.TryGetValue names[index]

                {
                    Title = names[index]
                    Group = ""
                    Direction = (if found then direction else NoBest)
                    Digits = (if whole then 0 else defaultArg digits 3)
                })

        let cell (column: ObjectSeries<'Row>) (row: 'Row) =
            match column.TryGet row |> OptionalValue.asOption with
            | None -> Cell.Missing
            | Some value ->
                match numbers value with
                | Some number when Double.IsFinite number -> Cell.FromPaper(number, "")
                | Some _ -> Cell.Missing
                | None -> Cell.Text(string value)

        Table.create (
            parts,
            [
                for row in frame.RowKeys -> string row, columns |> Array.map (fun column -> cell column row)
            ],
            ?caption = caption,
            rowTitle = defaultArg rowTitle ""
        )
