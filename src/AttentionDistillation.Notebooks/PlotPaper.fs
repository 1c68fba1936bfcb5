namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Published numbers beside ours.
module internal PlotPaper =

    let private suffix index =
        if index = 0 then "" else string (index + 1)

    let paperVersusOurs (all: Comparison seq) (title: string) (asBars: bool) =
        let all = Seq.toArray all
        requireAny "comparisons" "comparisons" all
        let metrics = all |> Array.map _.Metric |> Array.distinct
        let labels = all |> Array.map _.Label |> Array.distinct
        let count = metrics.Length
        let longest = labels |> Array.map _.Length |> Array.max
        let left = 40 + int (float longest * 6.8)
        let columns = min count 4
        let rows = (count + columns - 1) / columns
        let panelHeight = (if asBars then 40 else 30) * labels.Length + 20
        let top, bottom = 96, 46
        let gapX, gapPixels = 0.035, 70
        let plotHeight = rows * panelHeight + (rows - 1) * gapPixels
        let width = (1.0 - gapX * float (columns - 1)) / float columns

        let place index =
            let row, column = index / columns, index % columns
            let x = float column * (width + gapX)
            let y = float ((rows - 1 - row) * (panelHeight + gapPixels)) / float plotHeight
            (x, min 1.0 (x + width)), (y, min 1.0 (y + float panelHeight / float plotHeight))

        let rowOf label = Array.IndexOf(labels, label)

        let spread (items: Comparison[]) =
            items
            |> Array.map (fun item -> if isFinite item.Deviation then round4 item.Deviation else 0.0)

        let errors items colour =
            "error_x",
            box (
                node [
                    "type", box "data"
                    "array", box (spread items)
                    "color", box colour
                    "thickness", box 1.5
                    "width", box 4
                ]
            )

        let traces = [
            for index in 0 .. count - 1 do
                let items = all |> Array.filter (fun item -> item.Metric = metrics[index])

                let place = [
                    "xaxis", box $"x{suffix index}"
                    "yaxis", box $"y{suffix index}"
                    "showlegend", box (index = 0)
                ]

                let paper, ours =
                    items |> Array.filter (fun item -> isFinite item.Paper),
                    items |> Array.filter (fun item -> isFinite item.Ours)

                let name (item: Comparison) = MapAxes.escape item.Label

                if asBars then
                    "bar",
                    [
                        "orientation", box "h"
                        "x", box (paper |> Array.map (fun item -> round4 item.Paper))
                        "y", box (Array.map name paper)
                        "name", box "paper"
                        "marker", box (node [ "color", box "#b8c0ca" ])
                        "hovertemplate", box "%{y}: %{x}<extra>paper</extra>"
                    ]
                    @ place

                    "bar",
                    [
                        "orientation", box "h"
                        "x", box (ours |> Array.map (fun item -> round4 item.Ours))
                        "y", box (Array.map name ours)
                        "name", box "ours (mean ± sd)"
                        "marker", box (node [ "color", box (colour 0) ])
                        errors ours ink
                        "hovertemplate", box "%{y}: %{x}<extra>ours</extra>"
                    ]
                    @ place
                else
                    let joined =
                        items |> Array.filter (fun item -> isFinite item.Paper && isFinite item.Ours)

                    "scatter",
                    [
                        "mode", box "lines"
                        "x",
                        box (
                            joined
                            |> Array.collect (fun item -> [| round4 item.Paper; round4 item.Ours; nan |])
                        )
                        "y", box (joined |> Array.collect (fun item -> Array.create 3 (name item)))
                        "line", box (node [ "color", box "#b8c0ca"; "width", box 2 ])
                        "hoverinfo", box "skip"
                    ]
                    @ place
                    @ [ "showlegend", box false ]

                    "scatter",
                    [
                        "mode", box "markers"
                        "x", box (paper |> Array.map (fun item -> round4 item.Paper))
                        "y", box (Array.map name paper)
                        "name", box "paper"
                        "marker",
                        box (
                            node [
                                "symbol", box "diamond-open"
                                "size", box 10
                                "color", box (colour 1)
                                "line", box (node [ "width", box 2 ])
                            ]
                        )
                        "hovertemplate", box "%{y}: %{x}<extra>paper</extra>"
                    ]
                    @ place

                    "scatter",
                    [
                        "mode", box "markers"
                        "x", box (ours |> Array.map (fun item -> round4 item.Ours))
                        "y", box (Array.map name ours)
                        "name", box "ours (mean ± sd)"
                        "marker", box (node [ "size", box 9; "color", box (colour 0) ])
                        errors ours (colour 0)
                        "hovertemplate", box "%{y}: %{x}<extra>ours</extra>"
                    ]
                    @ place
        ]

        let axes = [
            for index in 0 .. count - 1 do
                let (x0, x1), (y0, y1) = place index

                $"xaxis{suffix index}",
                box (
                    axis "" [
                        "domain", box [| x0; x1 |]
                        "anchor", box $"y{suffix index}"
                        "nticks", box 5
                    ]
                )

                $"yaxis{suffix index}",
                box (
                    axis "" [
                        "domain", box [| y0; y1 |]
                        "anchor", box $"x{suffix index}"
                        "type", box "category"
                        "categoryorder", box "array"
                        "categoryarray", box (labels |> Array.map MapAxes.escape)
                        "range", box [| float labels.Length - 0.4; -0.6 |]
                        "showticklabels", box (index % columns = 0)
                        "ticks", box ""
                    ]
                )
        ]

        let headings =
            metrics
            |> Array.mapi (fun index metric ->
                let (x0, _), (_, y1) = place index
                label $"<b>{MapAxes.escape metric}</b>" x0 y1 "left" "bottom" 12 [ "yshift", box 2 ])

        let legend =
            node [
                "orientation", box "h"
                "x", box 1.0
                "xanchor", box "right"
                "y", box (1.0 + 34.0 / float plotHeight)
                "yanchor", box "bottom"
                "font", box (font 12)
            ]

        layout
            (MapAxes.escape title)
            Width
            (top + bottom + plotHeight)
            (left, 24, top, bottom)
            ([
                "annotations", box headings
                "legend", box legend
                "showlegend", box true
                "barmode", box "group"
             ]
             @ axes)
        |> chart traces
