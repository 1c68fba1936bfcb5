namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Single attention maps, and teacher beside student.
module internal PlotMaps =

    let attentionMap (layers: float[,][][]) tokens keyTokens layer head (title: string) colourMaximum =
        let map, chosen = MapAxes.choose layer head layers
        let queries, keys = MapAxes.tokensOfSides tokens keyTokens map
        let map = MapAxes.crop (queries, keys) map
        let rows, columns = Array2D.length1 map, Array2D.length2 map
        let blocks = blocks 1 rows columns 8 8_000
        let small = blockMean (fst blocks) (snd blocks) map

        let rowCells, columnCells =
            MapAxes.side queries rows (fst blocks), MapAxes.side keys columns (snd blocks)

        let size = if max rowCells.Length columnCells.Length <= 32 then 12 else 9

        let left, bottom =
            MapAxes.labelWidth size rowCells + 42, MapAxes.labelWidth size columnCells + 44

        let longest = float (max rowCells.Length columnCells.Length)
        let cell = min (max 44.0 (360.0 / longest)) (600.0 / longest)

        let wide, high =
            max 240 (int (cell * float columnCells.Length)), max 160 (int (cell * float rowCells.Length))

        let right, top = 100, 70
        let limit = 64

        let trace = [
            "z", box (jagged round4 small)
            "x", box (Array.map fst columnCells)
            "y", box (Array.map fst rowCells)
            "coloraxis", box "coloraxis"
            "hovertemplate", box "query %{y}<br>key %{x}<br>probability %{z:.4f}<extra></extra>"
        ]

        let layout =
            layout
                (MapAxes.subtitle title [ chosen; MapAxes.blockNote blocks ])
                (left + wide + right)
                (top + high + bottom)
                (left, right, top, bottom)
                [
                    "xaxis",
                    box (
                        MapAxes.axis "y" (0.0, 1.0) "Key token" limit size columnCells [
                            "tickangle", box (MapAxes.tickAngle columnCells)
                        ]
                    )
                    "yaxis", box (MapAxes.axis "x" (0.0, 1.0) "Query token" limit size rowCells MapAxes.reversed)
                    "coloraxis",
                    box (
                        node [
                            "colorscale", box Sequential
                            "cmin", box 0.0
                            "cmax", box (colourMaximum |> Option.defaultWith (fun () -> round4 (largest [ small ])))
                            "colorbar", box (MapAxes.colourBar "Attention probability" [ "len", box 1.0 ])
                        ]
                    )
                ]

        chart [ "heatmap", trace ] layout

    let comparison (teacher: float[,][][]) (student: float[,][][]) tokens layer head (title: string) (names: string * string) =
        let teacherMap, chosen = MapAxes.choose layer head teacher
        let studentMap, _ = MapAxes.choose layer head student
        let rows, columns = Array2D.length1 teacherMap, Array2D.length2 teacherMap

        if (rows, columns) <> (Array2D.length1 studentMap, Array2D.length2 studentMap) then
            invalidArg
                "student"
                $"Teacher [{rows}, {columns}] and student [{Array2D.length1 studentMap}, {Array2D.length2 studentMap}] maps differ in length. Give both models the same tokens."

        let sides = MapAxes.tokensOfSides tokens None teacherMap

        let teacherMap, studentMap =
            MapAxes.crop sides teacherMap, MapAxes.crop sides studentMap

        let rows, columns = Array2D.length1 teacherMap, Array2D.length2 teacherMap
        let blocks = blocks 3 rows columns 9 20_000

        let teacherSmall, studentSmall =
            blockMean (fst blocks) (snd blocks) teacherMap, blockMean (fst blocks) (snd blocks) studentMap

        let difference =
            Array2D.init (Array2D.length1 teacherSmall) (Array2D.length2 teacherSmall) (fun row column ->
                studentSmall[row, column] - teacherSmall[row, column])

        let extent = largest [ Array2D.map abs difference ]

        let rowCells, columnCells =
            MapAxes.side (fst sides) rows (fst blocks), MapAxes.side (snd sides) columns (snd blocks)

        let size = if columnCells.Length <= 20 then 11 else 9
        let left, right, above = MapAxes.labelWidth size rowCells + 40, 20, 92
        let below = MapAxes.labelWidth size columnCells + 118
        let plotWidth = float (Width - left - right)
        let panel = plotWidth * 0.31
        let plotHeight = panel * min 1.5 (max 0.3 (float rows / float columns))
        let xs = MapAxes.domains 3 0.035
        let limit = if size = 11 then 20 else 26

        let panels = [
            fst names, teacherSmall, "coloraxis"
            snd names, studentSmall, "coloraxis"
            $"{snd names} − {fst names}", difference, "coloraxis2"
        ]

        let traces =
            panels
            |> List.mapi (fun index (name, values, colours) ->
                "heatmap",
                [
                    "z", box (jagged round4 values)
                    "x", box (Array.map fst columnCells)
                    "y", box (Array.map fst rowCells)
                    "xaxis", box (if index = 0 then "x" else $"x{index + 1}")
                    "yaxis", box "y"
                    "coloraxis", box colours
                    "hovertemplate", box $"query %%{{y}}<br>key %%{{x}}<br>%%{{z:.4f}}<extra>{MapAxes.escape name}</extra>"
                ])

        let bar text x length =
            // The bar hangs below the token labels, whose room is known in pixels.
            let drop = float (MapAxes.labelWidth size columnCells + 34) / plotHeight

            MapAxes.colourBar text [
                "orientation", box "h"
                "x", box x
                "xanchor", box "center"
                "y", box -drop
                "yanchor", box "top"
                "len", box length
                "title", box (node [ "text", box text; "side", box "bottom"; "font", box (font 12) ])
            ]

        let middle (low: float, high: float) = (low + high) / 2.0

        let layout =
            layout
                (MapAxes.subtitle title [ chosen; MapAxes.blockNote blocks ])
                Width
                (above + below + int plotHeight)
                (left, right, above, below)
                ([
                    "annotations",
                    box [|
                        for index in 0..2 ->
                            let name, _, _ = panels[index]
                            label (MapAxes.escape name) (middle xs[index]) 1.0 "center" "bottom" 13 [ "yshift", box 4 ]
                    |]
                    "yaxis",
                    box (
                        MapAxes.axis
                            "x"
                            (0.0, 1.0)
                            "Query token"
                            (if rowCells.Length <= 32 then 32 else 26)
                            size
                            rowCells
                            MapAxes.reversed
                    )
                    "coloraxis",
                    box (
                        node [
                            "colorscale", box Sequential
                            "cmin", box 0.0
                            "cmax", box (round4 (largest [ teacherSmall; studentSmall ]))
                            "colorbar", box (bar "Attention probability" ((fst xs[0] + snd xs[1]) / 2.0) 0.5)
                        ]
                    )
                    "coloraxis2",
                    box (
                        node [
                            "colorscale", diverging
                            "cmin", box -(round4 extent)
                            "cmax", box (round4 extent)
                            "colorbar", box (bar "Difference" (middle xs[2]) 0.3)
                        ]
                    )
                 ]
                 @ [
                     for index in 0..2 ->
                         (if index = 0 then "xaxis" else $"xaxis{index + 1}"),
                         box (
                             MapAxes.axis "y" xs[index] "Key token" limit size columnCells [
                                 "tickangle", box (MapAxes.tickAngle columnCells)
                             ]
                         )
                 ])

        chart traces layout
