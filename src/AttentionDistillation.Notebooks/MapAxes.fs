namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.Theme

/// What heatmaps with tokens on their axes share: labels, cropping of padding, axes, colour bars.
module internal MapAxes =

    /// Longest tick label in characters; longer tokens are cut with an ellipsis (the hover shows them whole).
    [<Literal>]
    let LongestTick = 14

    let private shorten (token: string) =
        if token.Length <= LongestTick then
            token
        else
            token.Substring(0, LongestTick - 1) + "…"

    /// Plotly reads a few HTML tags in labels, and tokens such as <s> look like them.
    let escape (text: string) =
        text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;")

    let private tokenArray (argument: string) (tokens: string seq option) length =
        tokens
        |> Option.map (fun tokens ->
            let tokens = Seq.toArray tokens

            if tokens.Length > length then
                invalidArg
                    argument
                    $"{tokens.Length} tokens do not fit a map of {length} positions. Pass the tokens of the same sequence, at most {length}."

            if tokens.Length = 0 then
                invalidArg argument "The list of tokens is empty. Leave the argument out, or pass the sequence's tokens."

            tokens)

    /// Tokens of queries and keys; self-attention shares them, cross-attention does not.
    let tokensOfSides (tokens: string seq option) (keyTokens: string seq option) (map: float[,]) =
        let rows, columns = Array2D.length1 map, Array2D.length2 map
        let queries = tokenArray "tokens" tokens rows

        let keys =
            match keyTokens with
            | Some _ -> tokenArray "keyTokens" keyTokens columns
            | None when rows = columns -> queries
            | None -> None

        queries, keys

    /// Cuts padding off: fewer tokens than positions mean that only the first positions are real.
    let crop (queries: string[] option, keys: string[] option) (map: float[,]) =
        let rows =
            queries |> Option.map Array.length |> Option.defaultValue (Array2D.length1 map)

        let columns =
            keys |> Option.map Array.length |> Option.defaultValue (Array2D.length2 map)

        if rows = Array2D.length1 map && columns = Array2D.length2 map then
            map
        else
            map[.. rows - 1, .. columns - 1]

    /// Cells along one side: a name for each (all different, for a category axis merges equal ones) and what the axis shows.
    let side (tokens: string[] option) length block =
        let count = (length + block - 1) / block

        Array.init count (fun cell ->
            if block > 1 then
                let range = $"{cell * block}–{min length ((cell + 1) * block) - 1}"
                range, range
            else
                match tokens with
                | Some tokens -> $"{escape tokens[cell]} ({cell})", escape (shorten tokens[cell])
                | None -> string cell, string cell)

    /// Pixels that tick labels of the given font size need.
    let labelWidth size (cells: (string * string)[]) =
        let longest = cells |> Array.map (fun (_, text) -> text.Length) |> Array.max
        int (float (longest * size) * 0.62) + 8

    let axis
        (anchor: string)
        (low: float, high: float)
        (title: string)
        limit
        (size: int)
        (cells: (string * string)[])
        (more: Members)
        =
        let step = (cells.Length + limit - 1) / limit

        let shown =
            cells
            |> Array.indexed
            |> Array.filter (fun (index, _) -> index % step = 0)
            |> Array.map snd

        node (
            [
                "type", box "category"
                "title", box (node [ "text", box title; "font", box (font 13); "standoff", box 8 ])
                "tickmode", box "array"
                "tickvals", box (Array.map fst shown)
                "ticktext", box (Array.map snd shown)
                "tickfont", box (font size)
                "ticks", box ""
                "showgrid", box false
                "zeroline", box false
                "showline", box false
                "anchor", box anchor
                "domain", box [| low; high |]
            ]
            @ more
        )

    /// What the axes of small panels share.
    let bareTemplate =
        node [
            "showticklabels", box false
            "ticks", box ""
            "showgrid", box false
            "zeroline", box false
            "showline", box false
        ]

    /// An axis without labels; the rest stands once in the figure's template.
    let bare (anchor: string) (low: float, high: float) (more: Members) =
        node (
            [
                "anchor", box anchor
                "domain", box [| System.Math.Round(low, 5); System.Math.Round(high, 5) |]
            ]
            @ more
        )

    let colourBar (title: string) (more: Members) =
        node (
            [
                "title", box (node [ "text", box title; "side", box "right"; "font", box (font 12) ])
                "thickness", box 12
                "outlinewidth", box 0
                "ticks", box "outside"
                "ticklen", box 3
                "tickfont", box (font 11)
                "ticksuffix", box " "
            ]
            @ more
        )

    let blockNote (rowBlock, columnBlock) =
        if rowBlock = 1 && columnBlock = 1 then
            ""
        elif rowBlock = columnBlock then
            $"each cell is the mean of {rowBlock} × {columnBlock} positions"
        else
            $"each cell is the mean of {rowBlock} × {columnBlock} positions (queries × keys)"

    let subtitle (title: string) (parts: string list) =
        match parts |> List.filter (fun part -> part <> "") with
        | [] -> escape title
        | parts ->
            let text = escape (String.Join("; ", parts))
            $"{escape title}<br><span style=\"font-size:12px;color:{softInk}\">{text}</span>"

    /// One map of several: the chosen layer (default: the last) and head (default: the mean of all), and words for the choice.
    let choose (layer: int option) (head: int option) (layers: float[,][][]) =
        let pick (what: string) (argument: string) index (items: 'T[]) =
            let resolved = if index < 0 then items.Length + index else index

            if resolved < 0 || resolved >= items.Length then
                invalidArg argument $"There is no {what} {index}: there are {items.Length}, numbered from 0."

            items[resolved]

        let heads = pick "layer" "layer" (defaultArg layer -1) layers

        match head with
        | Some head -> pick "head" "head" head heads, $"head {head}"
        | None when heads.Length = 1 -> heads[0], ""
        | None ->
            let rows, columns = Array2D.length1 heads[0], Array2D.length2 heads[0]

            Array2D.init rows columns (fun row column -> heads |> Array.averageBy (fun map -> map[row, column])),
            $"mean of {heads.Length} heads"

    let reversed = [ "autorange", box "reversed" ]

    let tickAngle (cells: (string * string)[]) =
        if cells |> Array.exists (fun (_, text) -> text.Length > 2) then -90 else 0

    /// Panels of a grid side by side, with gaps in fractions of the plot area: (low, high) of each.
    let domains count gap =
        let width = (1.0 - gap * float (count - 1)) / float count
        Array.init count (fun index -> float index * (width + gap), min 1.0 (float index * (width + gap) + width))
