namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Quality against cost, with the front of the best.
module internal PlotFront =

    /// The points that no other of the same cost or less equals or beats, by rising cost.
    let best higherIsBetter (points: FrontPoint[]) =
        let sign = if higherIsBetter then 1.0 else -1.0

        (([], Double.NegativeInfinity), points |> Array.sortBy (fun point -> point.Cost, -sign * point.Quality))
        ||> Array.fold (fun (kept, limit) point ->
            if sign * point.Quality > limit then
                point :: kept, sign * point.Quality
            else
                kept, limit)
        |> fst
        |> List.rev

    let front (points: FrontPoint seq) (quantity: string) higherIsBetter (title: string) (xTitle: string) logX =
        let points =
            points
            |> Seq.filter (fun point -> isFinite point.Cost && isFinite point.Quality)
            |> Seq.toArray

        requireAny "points" "finite points" points
        let kept = best higherIsBetter points |> List.toArray

        let hover (own: FrontPoint[]) =
            own |> Array.map (fun point -> MapAxes.escape point.Label)

        let place (own: FrontPoint[]) : Members = [
            "x", box (own |> Array.map _.Cost)
            "y", box (own |> Array.map (fun point -> round4 point.Quality))
            "text", box (hover own)
            "hovertemplate", box "%{text}<br>%{x:,} · %{y:.4g}<extra>%{fullData.name}</extra>"
        ]

        let traces = [
            "scatter",
            place kept
            @ [
                "name", box "front"
                "mode", box "lines"
                "line", box (node [ "color", box softInk; "width", box 1.5; "dash", box "dot" ])
            ]
            for index, (group, own) in Seq.indexed (groups (fun (point: FrontPoint) -> point.Group) points) do
                "scatter",
                place own
                @ [
                    "name", box (MapAxes.escape group)
                    "mode", box "markers"
                    "marker", box (node [ "color", box (colour index); "size", box 9; "opacity", box 0.85 ])
                ]
        ]

        let costs = points |> Array.map _.Cost

        let logarithm: Members =
            if logX then ("type", box "log") :: logarithmicTicks costs else []

        chart
            traces
            (layout (MapAxes.escape title) Width 480 (80, 160, 60, 70) [
                "xaxis", box (axis xTitle logarithm)
                "yaxis", box (axis quantity [])
                "legend", box (node [ "x", box 1.02; "y", box 1.0; "font", box (font 12) ])
            ])
