namespace AttentionDistillation.Notebooks

open System
open System.Globalization

/// Numbers on their way into a chart: rounding, thinning, moments.
module internal PlotData =

    /// A notebook output holds the figure twice (plotly JSON and HTML) and must stay below 1 MB.
    [<Literal>]
    let FigureBytes = 480_000

    let isFinite (value: float) = Double.IsFinite value

    /// Rounded to a number of significant digits; keeps NaN and infinities.
    let significant (digits: int) (value: float) =
        if value = 0.0 || not (isFinite value) then
            value
        else
            Double.Parse(value.ToString("G" + string digits, CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)

    let round4 value = significant 4 value

    let mean (values: float[]) =
        if values.Length = 0 then nan else Array.average values

    /// Sample standard deviation (divisor n - 1); NaN below two values.
    let deviation (values: float[]) =
        if values.Length < 2 then
            nan
        else
            let centre = Array.average values

            sqrt (
                Array.sumBy (fun value -> (value - centre) ** 2.0) values
                / float (values.Length - 1)
            )

    let finiteValues (map: float[,]) =
        map |> Seq.cast<float> |> Seq.filter isFinite |> Seq.toArray

    /// The largest finite value; 1 when there is none above 0.
    let largest (maps: float[,] seq) =
        let top =
            maps |> Seq.collect (Seq.cast<float>) |> Seq.filter isFinite |> Seq.fold max 0.0

        if top > 0.0 then top else 1.0

    /// Means over blocks of rowBlock x columnBlock; values that are not finite do not count.
    let blockMean rowBlock columnBlock (map: float[,]) =
        if rowBlock = 1 && columnBlock = 1 then
            map
        else
            let rows, columns = Array2D.length1 map, Array2D.length2 map

            Array2D.init ((rows + rowBlock - 1) / rowBlock) ((columns + columnBlock - 1) / columnBlock) (fun row column ->
                let mutable sum, count = 0.0, 0

                for i in row * rowBlock .. min rows ((row + 1) * rowBlock) - 1 do
                    for j in column * columnBlock .. min columns ((column + 1) * columnBlock) - 1 do
                        if isFinite map[i, j] then
                            sum <- sum + map[i, j]
                            count <- count + 1

                if count = 0 then nan else sum / float count)

    /// The smallest block (rows, columns) for which `panels` maps of this size and `fixedBytes` of anything else fit a figure.
    let blocks panels rows columns charactersPerCell fixedBytes =
        let cells = max 10_000 (FigureBytes - fixedBytes) / charactersPerCell / max 1 panels
        let mutable block = 1
        let size block length = (length + block - 1) / block

        while size block rows * size block columns > max 1 cells do
            block <- block + 1

        min block rows, min block columns

    /// Rows of a matrix as Plotly wants them.
    let jagged (convert: float -> float) (map: float[,]) =
        Array.init (Array2D.length1 map) (fun row -> Array.init (Array2D.length2 map) (fun column -> convert map[row, column]))

    /// At most `limit` of the values: all, or evenly spaced ranks of the sorted ones, which keeps the shape of the distribution.
    let thin limit (values: float[]) =
        if values.Length <= limit then
            values
        else
            let sorted = Array.sort values
            Array.init limit (fun index -> sorted[int (float index * float (sorted.Length - 1) / float (limit - 1))])

    /// In order of first appearance.
    let groups (key: 'T -> string) (items: 'T seq) : (string * 'T[])[] =
        items
        |> Seq.groupBy key
        |> Seq.map (fun (name, members) -> name, Seq.toArray members)
        |> Seq.toArray

    let requireAny (what: string) (name: string) (items: 'T[]) =
        if items.Length = 0 then
            invalidArg name $"There are no {what} to plot. Pass at least one; if a filter made the sequence, check its condition."
