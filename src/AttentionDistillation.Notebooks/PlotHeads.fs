namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// All heads at once: a grid of their maps, a statistic per layer and head.
module internal PlotHeads =

    /// Characters of figure JSON that a panel needs beside its values.
    [<Literal>]
    let private panelBytes = 330

    let private gridTemplate =
        let trace =
            node [
                "coloraxis", box "coloraxis"
                "hovertemplate", box "query %{y}, key %{x}<br>%{z}<extra>%{fullData.name}</extra>"
            ]

        node [
            "data", box (node [ "heatmap", box [| trace |] ])
            "layout", box (node [ "xaxis", box MapAxes.bareTemplate; "yaxis", box MapAxes.bareTemplate ])
        ]

    let headGrid (layers: float[,][][]) (layerTitles: string[]) tokens (title: string) colourMaximum =
        let sizes =
            layers
            |> Array.collect (Array.map (fun map -> Array2D.length1 map, Array2D.length2 map))
            |> Array.distinct

        if sizes.Length > 1 then
            invalidArg
                "maps"
                "The maps of a grid must all have the same length, so that panels can be compared. Pass layers of one forward pass."

        let sides = MapAxes.tokensOfSides tokens None (Array.head layers[0])
        let layers = layers |> Array.map (Array.map (MapAxes.crop sides))
        let first = Array.head layers[0]
        let rows, columns = Array2D.length1 first, Array2D.length2 first
        let count = layers |> Array.sumBy Array.length
        let top = largest (Array.concat layers)
        // A thousandth of the largest value is finer than the eye tells colours apart in a small panel.
        let decimals = 3 + max 0 (int (floor (-(log10 top))))
        let charactersPerCell = decimals + 3
        let fixedBytes = 4_000 + count * panelBytes
        let blocks = blocks count rows columns charactersPerCell fixedBytes
        // One layer fills a grid of several rows; several layers take one row each.
        let single = layers.Length = 1
        let heads = layers |> Array.map Array.length |> Array.max

        let gridColumns =
            if not single then heads
            elif heads <= 4 then heads
            elif heads % 6 = 0 || heads > 16 then 6
            else 4

        let gridRows =
            if single then (heads + gridColumns - 1) / gridColumns else layers.Length

        let left, right, above, below =
            (if single then 24 else 66), 92, (if single then 84 else 92), 40

        let gapX, gapY =
            (if heads > 8 && not single then 5.0 else 12.0),
            (if single then 26.0
             elif heads > 8 then 5.0
             else 12.0)

        let plotWidth = float (min (Width - left - right) (gridColumns * 190))
        let panel = (plotWidth - gapX * float (gridColumns - 1)) / float gridColumns
        let panelHeight = panel * min 1.5 (max 0.3 (float rows / float columns))
        let plotHeight = panelHeight * float gridRows + gapY * float (gridRows - 1)

        let xs, ys =
            MapAxes.domains gridColumns (gapX / plotWidth), MapAxes.domains gridRows (gapY / plotHeight)

        let rowCells, columnCells =
            MapAxes.side (fst sides) rows (fst blocks), MapAxes.side (snd sides) columns (snd blocks)
        // Token names in every panel must not crowd out the maps themselves.
        let nameBytes =
            Array.append rowCells columnCells
            |> Array.sumBy (fun (name, _) -> name.Length + 8)

        let named =
            fixedBytes
            + count * (nameBytes + rowCells.Length * columnCells.Length * charactersPerCell)
            <= FigureBytes

        let suffix index =
            if index = 0 then "" else string (index + 1)

        let panels = [|
            for layer in 0 .. layers.Length - 1 do
                for head in 0 .. layers[layer].Length - 1 do
                    let index = if single then head else layer * heads + head
                    layer, head, index / gridColumns, index % gridColumns
        |]

        let shown = layers |> Array.map (Array.map (blockMean (fst blocks) (snd blocks)))

        let traces =
            panels
            |> Array.mapi (fun index (layer, head, _, _) ->
                let small: float[,] = shown[layer][head]
                let where = if single then $"head {head}" else $"layer {layer}, head {head}"

                let names =
                    if named then
                        [ "x", box (Array.map fst columnCells); "y", box (Array.map fst rowCells) ]
                    else
                        [ "x0", box 0; "dx", box (snd blocks); "y0", box 0; "dy", box (fst blocks) ]

                "heatmap",
                [
                    "z", box (jagged (fun value -> if isFinite value then Math.Round(value, min 15 decimals) else value) small)
                    "xaxis", box ("x" + suffix index)
                    "yaxis", box ("y" + suffix index)
                    "name", box where
                ]
                @ names)

        let axes = [
            for index in 0 .. panels.Length - 1 do
                let _, _, row, column = panels[index]
                // Row 0 is at the top.
                let low, high = ys[gridRows - 1 - row]
                let kind: Members = if named then [ "type", box "category" ] else []
                $"xaxis{suffix index}", box (MapAxes.bare ("y" + suffix index) xs[column] kind)
                $"yaxis{suffix index}", box (MapAxes.bare ("x" + suffix index) (low, high) (MapAxes.reversed @ kind))
        ]

        let middle (low: float, high: float) = (low + high) / 2.0

        let labels =
            if single then
                [|
                    for _, head, row, column in panels ->
                        label $"head {head}" (middle xs[column]) (snd ys[gridRows - 1 - row]) "center" "bottom" 11 []
                |]
            else
                let name layer =
                    if layer < layerTitles.Length then layerTitles[layer] else $"layer {layer}"

                [|
                    for column in 0 .. gridColumns - 1 do
                        let text = if panel >= 55.0 then $"head {column}" else string column
                        label text (middle xs[column]) 1.0 "center" "bottom" 11 []
                    for row in 0 .. gridRows - 1 do
                        label (name row) 0.0 (middle ys[gridRows - 1 - row]) "right" "middle" 11 [ "xshift", box -8 ]
                |]

        let layout =
            layout
                (MapAxes.subtitle title [ "rows of each panel are queries, columns keys"; MapAxes.blockNote blocks ])
                (left + right + int plotWidth)
                (above + below + int plotHeight)
                (left, right, above, below)
                ([
                    "annotations", box labels
                    "template", box gridTemplate
                    "coloraxis",
                    box (
                        node [
                            "colorscale", box Sequential
                            "cmin", box 0.0
                            "cmax",
                            box (
                                colourMaximum
                                |> Option.defaultWith (fun () -> round4 (largest (Array.concat shown)))
                            )
                            "colorbar", box (MapAxes.colourBar "Attention probability" [ "len", box 1.0 ])
                        ]
                    )
                 ]
                 @ axes)

        chart traces layout

    let layerHead (values: float[,]) (quantity: string) (title: string) (centred: bool) (rowTitle: string) (columnTitle: string) =
        let rows, columns = Array2D.length1 values, Array2D.length2 values
        let blocks = blocks 1 rows columns 9 8_000
        let values = blockMean (fst blocks) (snd blocks) values
        let rows, columns = Array2D.length1 values, Array2D.length2 values

        let cell =
            min (max 58.0 (360.0 / float columns)) (float (Width - 190) / float columns)

        let cellHeight = min 40.0 (max 4.0 (600.0 / float rows))

        let wide, high =
            max 360 (int (cell * float columns)), max 120 (int (cellHeight * float rows))

        let left, right, top, bottom = 70, 120, 62, 58
        let finite = finiteValues values
        let extent = largest [ Array2D.map abs values ]

        let low, high' =
            if centred then -extent, extent
            elif finite.Length = 0 then 0.0, 1.0
            else Array.min finite, Array.max finite

        let written =
            if cell >= 34.0 && cellHeight >= 16.0 then
                [ "texttemplate", box "%{z:.3g}"; "textfont", box (node [ "size", box 10 ]) ]
            else
                []

        let trace =
            [
                "z", box (jagged round4 values)
                "coloraxis", box "coloraxis"
                "xgap", box 1
                "ygap", box 1
                "hovertemplate",
                box
                    $"{rowTitle.ToLowerInvariant()} %%{{y}}, {columnTitle.ToLowerInvariant()} %%{{x}}<br>%%{{z:.4g}}<extra></extra>"
            ]
            @ written

        // A short title above the bar; beside a low bar it would run into the numbers.
        let colourBar =
            let sideOfTitle = if quantity.Length <= 16 then "top" else "right"

            let heading =
                node [
                    "text", box (MapAxes.escape quantity)
                    "side", box sideOfTitle
                    "font", box (font 12)
                ]

            MapAxes.colourBar quantity [ "len", box 1.0; "title", box heading ]

        let step count = max 1 ((count + 15) / 16)

        let side (title: string) count (more: Members) =
            box (
                node (
                    [
                        "title", box (node [ "text", box title; "font", box (font 13); "standoff", box 8 ])
                        "dtick", box (step count)
                        "tick0", box 0
                        "showgrid", box false
                        "zeroline", box false
                        "ticks", box ""
                    ]
                    @ more
                )
            )

        let layout =
            layout
                (MapAxes.subtitle title [ MapAxes.blockNote blocks ])
                (left + wide + right)
                (top + high + bottom)
                (left, right, top, bottom)
                [
                    "xaxis", side columnTitle columns []
                    "yaxis", side rowTitle rows MapAxes.reversed
                    "coloraxis",
                    box (
                        node [
                            "colorscale", (if centred then diverging else box Sequential)
                            "cmin", box (round4 low)
                            "cmax", box (round4 high')
                            "colorbar", box (colourBar)
                        ]
                    )
                ]

        chart [ "heatmap", trace ] layout
