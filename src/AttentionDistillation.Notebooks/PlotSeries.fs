namespace AttentionDistillation.Notebooks

open System
open System.Globalization
open AttentionDistillation.Notebooks.PanelGrid
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Cost against length, and distributions.
module internal PlotSeries =

    let cost (points: CostPoint seq) (title: string) (xTitle: string) =
        let points = Seq.toArray points
        requireAny "points" "points" points

        for point in points do
            if isFinite point.Value && point.Value <= 0.0 || point.Length <= 0.0 then
                invalidArg
                    "points"
                    $"Logarithmic axes show positive numbers only, but {point.Variant} has {point.Quantity} {point.Value} at length {point.Length}. Leave such points out, or make the value NaN."

        let quantities = points |> Array.map _.Quantity |> Array.distinct

        let variants =
            points |> Array.map (fun (point: CostPoint) -> point.Variant) |> Array.distinct

        let symbols = [|
            "circle"
            "square"
            "diamond"
            "triangle-up"
            "x"
            "cross"
            "triangle-down"
            "star"
        |]

        let lengths = points |> Array.map _.Length |> Array.distinct |> Array.sort

        let traces = [
            for quantity, own in groups (fun (point: CostPoint) -> point.Quantity) points do
                for variant, line in groups (fun (point: CostPoint) -> point.Variant) own do
                    let panel, index =
                        Array.IndexOf(quantities, quantity), Array.IndexOf(variants, variant)
                    // Repeated measurements of one length are averaged.
                    let line =
                        line
                        |> Array.groupBy _.Length
                        |> Array.sortBy fst
                        |> Array.map (fun (length, own) -> length, own |> Array.map _.Value |> Array.filter isFinite |> mean)

                    "scatter",
                    [
                        "x", box (Array.map fst line)
                        "y", box (line |> Array.map (snd >> round4))
                        "name", box (MapAxes.escape variant)
                        "legendgroup", box variant
                        "showlegend",
                        box (
                            panel = 0
                            || not (
                                points
                                |> Array.exists (fun point -> point.Variant = variant && point.Quantity = quantities[0])
                            )
                        )
                        "mode", box "lines+markers"
                        "line", box (node [ "color", box (colour index); "width", box 2 ])
                        "marker", box (node [ "symbol", box symbols[index % symbols.Length]; "size", box 8 ])
                        "xaxis", box $"x{suffix panel}"
                        "yaxis", box $"y{suffix panel}"
                        "hovertemplate", box "length %{x}: %{y:.4g}<extra>%{fullData.name}</extra>"
                    ]
        ]

        let shown =
            if lengths.Length <= 8 then
                lengths
            else
                lengths
                |> Array.indexed
                |> Array.filter (fun (index, _) -> index % ((lengths.Length + 7) / 8) = 0)
                |> Array.map snd

        let ticks = [
            "type", box "log"
            "tickvals", box shown
            "ticktext",
            box (
                shown
                |> Array.map (fun length -> length.ToString("0.##", CultureInfo.InvariantCulture))
            )
        ]

        let one = quantities.Length = 1

        chart
            traces
            (panelLayout
                (MapAxes.escape title)
                quantities
                xTitle
                (if one then quantities[0] else "")
                (variants.Length > 1)
                ticks
                (logarithmic (points |> Array.map _.Value)))

    /// Values per group that a distribution keeps.
    [<Literal>]
    let LargestSample = 2_000

    let distributions (all: (string * (string * float[])[])[]) (title: string) (xTitle: string) (yTitle: string) style logY =
        requireAny "series" "series" all
        requireAny "groups" "groups" (all |> Array.collect snd)
        let count = all |> Array.sumBy (fun (_, groups) -> groups.Length)
        // Strips are drawn as boxes that show points only; about 8 characters a value, the group's name beside each.
        let limit = max 20 (min LargestSample (FigureBytes / 24 / count))
        let several = all.Length > 1

        let traces = [
            for index in 0 .. all.Length - 1 do
                let name, members = all[index]

                let values =
                    members
                    |> Array.collect (fun (group, own) ->
                        own
                        |> Array.filter isFinite
                        |> thin limit
                        |> Array.map (fun value -> MapAxes.escape group, round4 value))

                let common = [
                    "x", box (Array.map fst values)
                    "y", box (Array.map snd values)
                    "name", box (MapAxes.escape name)
                    "showlegend", box several
                    "offsetgroup", box name
                    "marker", box (node [ "color", box (colour index); "size", box 5; "opacity", box 0.75 ])
                ]

                match style with
                | DistributionStyle.Violin ->
                    "violin",
                    common
                    @ [
                        "line", box (node [ "color", box (colour index); "width", box 1.2 ])
                        "fillcolor", box (translucent index 0.3)
                        "box", box (node [ "visible", box true ])
                        "points", box false
                        "spanmode", box "hard"
                        "scalemode", box "width"
                        "hoveron", box "violins"
                    ]
                | DistributionStyle.Box ->
                    "box",
                    common
                    @ [
                        "line", box (node [ "color", box (colour index); "width", box 1.5 ])
                        "fillcolor", box (translucent index 0.3)
                        "boxpoints", box "outliers"
                    ]
                | DistributionStyle.Strip ->
                    "box",
                    common
                    @ [
                        "line", box (node [ "color", box "rgba(0,0,0,0)" ])
                        "fillcolor", box "rgba(0,0,0,0)"
                        "boxpoints", box "all"
                        "jitter", box 0.45
                        "pointpos", box 0
                        "hoveron", box "points"
                    ]
        ]

        let extraY =
            if logY then logarithmic (all |> Seq.collect snd |> Seq.collect snd) else []

        let layout =
            panelLayout (MapAxes.escape title) [| "" |] xTitle yTitle several [ "type", box "category" ] extraY

        layout[if style = DistributionStyle.Violin then "violinmode" else "boxmode"] <- box "group"
        chart traces layout
