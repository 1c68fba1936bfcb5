namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Panels with common axes and one legend: what plots of lines and distributions share.
module internal PanelGrid =

    let panelGrid count =
        let columns =
            if count = 1 then 1
            elif count = 2 || count = 4 then 2
            else 3

        columns, (count + columns - 1) / columns

    let suffix index =
        if index = 0 then "" else string (index + 1)

    /// A panel's domains and heading in a grid of `count` panels.
    let place count index =
        let columns, rows = panelGrid count
        let row, column = index / columns, index % columns

        let gapX, gapY =
            (if columns = 1 then 0.0 else 0.09), (if rows = 1 then 0.0 else 0.16 / float (rows - 1) |> min 0.14)

        let width, height =
            (1.0 - gapX * float (columns - 1)) / float columns, (1.0 - gapY * float (rows - 1)) / float rows

        let x, y = float column * (width + gapX), float (rows - 1 - row) * (height + gapY)
        (x, min 1.0 (x + width)), (y, min 1.0 (y + height))

    /// Members of a logarithmic axis, with ticks for the values that it shows.
    let logarithmic values : Members =
        ("type", box "log") :: logarithmicTicks values

    /// Layout of panels with a legend on the right.
    let panelLayout title (names: string[]) (xTitle: string) (yTitle: string) legendShown (extraX: Members) (extraY: Members) =
        let count = names.Length
        let columns, rows = panelGrid count
        let height = if count = 1 then 440 else 110 + 270 * rows

        let axes = [
            for index in 0 .. count - 1 do
                let (x0, x1), (y0, y1) = place count index
                let firstColumn, lastRow = index % columns = 0, index + columns >= count

                $"xaxis{suffix index}",
                box (
                    axis
                        (if lastRow then xTitle else "")
                        ([
                            "domain", box [| x0; x1 |]
                            "anchor", box $"y{suffix index}"
                            "showgrid", box false
                         ]
                         @ extraX)
                )

                $"yaxis{suffix index}",
                box (
                    axis
                        (if firstColumn then yTitle else "")
                        ([ "domain", box [| y0; y1 |]; "anchor", box $"x{suffix index}" ] @ extraY)
                )
        ]

        let headings =
            if count = 1 then
                [||]
            else
                names
                |> Array.mapi (fun index name ->
                    let (x0, _), (_, y1) = place count index
                    label $"<b>{MapAxes.escape name}</b>" x0 y1 "left" "bottom" 12 [ "yshift", box 3 ])

        layout
            title
            Width
            height
            (72, (if legendShown then 190 else 30), 76, 64)
            ([
                "annotations", box headings
                "showlegend", box legendShown
                "legend",
                box (
                    node [
                        "x", box 1.02
                        "xanchor", box "left"
                        "y", box 1.0
                        "font", box (font 12)
                        "itemsizing", box "constant"
                    ]
                )
                "hovermode", box "closest"
             ]
             @ axes)
