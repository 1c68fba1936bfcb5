namespace AttentionDistillation.Notebooks

open System
open System.Globalization
open Deedle

/// Which values of a metric are best.
type MetricDirection =
    /// For example accuracy.
    | HigherIsBetter
    /// For example loss or time.
    | LowerIsBetter
    /// Nothing is set in bold.
    | NoBest

/// A number from a paper. `Mark` follows it, for example "†" for a number that was not seen in its source.
type Published = {
    Variant: string
    Metric: string
    Value: float
    Mark: string
}

/// What one cell of a table holds.
[<RequireQualifiedAccess>]
type Cell =
    /// Nothing was measured or published.
    | Missing
    /// The finite values over seeds, and how many further seeds failed.
    | Measured of values: float[] * failed: int
    /// A number from a paper and its mark.
    | FromPaper of value: float * mark: string
    /// Anything else.
    | Text of string

/// A column: its title, the group it stands under ("" for none), which values are best, and digits after the point.
type Column = {
    Title: string
    Group: string
    Direction: MetricDirection
    Digits: int
}

/// A piece of a cell after formatting: what stands left and right of ±, plain words, bold or not.
type internal CellText = {
    Value: string
    Spread: string
    Note: string
    Bold: bool
}

/// Arithmetic of cells.
module internal CellText =

    let number (digits: int) (value: float) =
        // "-0.0" says nothing that "0.0" does not.
        let text = value.ToString("F" + string digits, CultureInfo.InvariantCulture)

        if text.StartsWith '-' && text |> Seq.forall (fun letter -> "-0.".Contains letter) then
            text.Substring 1
        else
            text.Replace("-", "−")

    let centre cell =
        match cell with
        | Cell.Measured(values, _) when values.Length > 0 -> Some(Array.average values)
        | Cell.FromPaper(value, _) when Double.IsFinite value -> Some value
        | _ -> None

    let isNumber cell =
        match cell with
        | Cell.Text _ -> false
        | _ -> true

    /// Number of seeds of a cell that finished.
    let seeds cell =
        match cell with
        | Cell.Measured(values, _) when values.Length > 0 -> Some values.Length
        | _ -> None

    let text (digits: int) (commonSeeds: int option) bold cell =
        let plain value = {
            Value = value
            Spread = ""
            Note = ""
            Bold = bold
        }

        match cell with
        | Cell.Missing -> plain "—"
        | Cell.Text text -> plain text
        | Cell.FromPaper(value, _) when not (Double.IsFinite value) -> plain "—"
        | Cell.FromPaper(value, mark) -> {
            plain (number digits value) with
                Note = mark
          }
        | Cell.Measured([||], 0) -> plain "—"
        | Cell.Measured([||], failed) -> plain $"failed ({failed} of {failed} seeds)"
        | Cell.Measured(values, failed) ->
            let spread = PlotData.deviation values

            let notes = [
                if Some values.Length <> commonSeeds then
                    $" (n = {values.Length})"
                if failed > 0 then
                    $" failed ({failed} of {values.Length + failed} seeds)"
            ]

            {
                plain (number digits (Array.average values)) with
                    Spread = (if Double.IsFinite spread then number digits spread else "")
                    Note = String.Join(";", notes)
            }

/// What a table says, whatever it is written as.
[<Sealed>]
type internal TableContent
    (caption: string, rowTitle: string, columns: Column[], rows: (string * Cell[])[], references: Set<string>, notes: string[]) =

    do
        for label, cells in rows do
            if cells.Length <> columns.Length then
                invalidArg
                    (nameof rows)
                    $"Row '{label}' has {cells.Length} cells, but the table has {columns.Length} columns. Give every row one cell per column (Missing where there is nothing)."

    // Compared as shown: values that print alike are equally good.
    let bestOf column =
        let key cell =
            CellText.centre cell
            |> Option.map (fun value -> Math.Round(value, min 15 columns[column].Digits))

        let values =
            rows
            |> Array.filter (fun (label, _) -> not (references.Contains label))
            |> Array.choose (fun (_, cells) -> key cells[column])

        match columns[column].Direction with
        | HigherIsBetter when values.Length > 1 -> Some(Array.max values)
        | LowerIsBetter when values.Length > 1 -> Some(Array.min values)
        | _ -> None

    let best = lazy (Array.init columns.Length bestOf)

    let commonSeeds =
        lazy
            (match rows |> Array.collect (snd >> Array.choose CellText.seeds) |> Array.countBy id with
             | [||] -> None
             | counts -> Some(counts |> Array.maxBy snd |> fst))

    /// Heading of the table; "" for none.
    member _.Caption = caption

    /// Title of the column of row labels.
    member _.RowTitle = rowTitle

    /// The columns, left to right.
    member _.Columns = columns

    /// Labels and cells, top to bottom.
    member _.Rows = rows

    /// Notes below the table: the number of seeds, what marks mean.
    member _.Notes: string[] =
        let spread =
            rows
            |> Array.exists (fun (_, cells) ->
                cells
                |> Array.exists (fun cell -> (CellText.seeds cell |> Option.defaultValue 0) > 1))

        [|
            match commonSeeds.Value with
            | Some count when spread -> $"mean ± standard deviation over n = {count} seeds"
            | Some _ -> "one seed (n = 1)"
            | None -> ()
            yield! notes
        |]

    /// True when the cell holds its column's best value (as shown; equal values share it). Reference rows do not compete.
    member _.IsBest(row: int, column: int) : bool =
        let label, cells = rows[row]

        match best.Value[column], CellText.centre cells[column] with
        | Some best, Some value ->
            not (references.Contains label)
            && Math.Round(value, min 15 columns[column].Digits) = best
        | _ -> false

    /// The text of a cell.
    member table.Cell(row: int, column: int) : CellText =
        CellText.text columns[column].Digits commonSeeds.Value (table.IsBest(row, column)) (snd rows[row]).[column]

    /// Means and published numbers as a Deedle frame: a row per variant, a column per column (group and title), missing where there is none.
    member _.ToFrame() : Frame<string, string> =
        let labels = Array.map fst rows

        [
            for index in 0 .. columns.Length - 1 do
                let name =
                    if columns[index].Group = "" then
                        columns[index].Title
                    else
                        $"{columns[index].Title} ({columns[index].Group})"

                let values =
                    rows
                    |> Array.choose (fun (label, cells) -> CellText.centre cells[index] |> Option.map (fun value -> label, value))

                name, Series.ofObservations values |> Series.realign labels
        ]
        |> Frame.ofColumns
