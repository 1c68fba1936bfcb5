namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PanelGrid
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Lines along steps or positions: training curves, divergence along the sequence.
module internal PlotCurves =

    /// Points per line beyond which neighbours are averaged, whatever the number of lines.
    [<Literal>]
    let LongestLine = 800

    /// Points per line that fit a figure; a point of a line with its band takes about 60 characters.
    let private longestLine lines =
        max 20 (min LongestLine (FigureBytes / 60 / max 1 lines))

    /// One line: x, mean and standard deviation over seeds, number of seeds.
    let private overSeeds limit (points: CurvePoint[]) =
        let steps =
            points
            |> Array.filter (fun point -> isFinite point.Value && isFinite point.Step)
            |> Array.groupBy _.Step
            |> Array.sortBy fst

        let block = (steps.Length + limit - 1) / limit |> max 1

        steps
        |> Array.chunkBySize block
        |> Array.map (fun chunk ->
            // Within a block each seed is averaged first, so that the band is the deviation over seeds and not over steps.
            let perSeed =
                chunk
                |> Array.collect snd
                |> Array.groupBy _.Seed
                |> Array.map (fun (_, own) -> own |> Array.averageBy _.Value)

            chunk |> Array.averageBy fst, Array.average perSeed, deviation perSeed)

    let curves (points: CurvePoint seq) (title: string) (xTitle: string) (yTitle: string) logX logY =
        let points = Seq.toArray points
        requireAny "points" "points" points

        let variants, terms =
            points |> Array.map _.Variant |> Array.distinct, points |> Array.map _.Term |> Array.distinct
        // One variant: its terms share a panel. Several variants: a panel per term, so that like stands beside like.
        let byTerm = variants.Length = 1
        let panels = if byTerm then [| terms[0] |] else terms
        let series = if byTerm then terms else variants
        let limit = longestLine (variants.Length * terms.Length)
        let seeds = points |> Array.map _.Seed |> Array.distinct |> Array.length

        let traces = [
            for term, own in groups (fun (point: CurvePoint) -> point.Term) points do
                for variant, line in groups (fun (point: CurvePoint) -> point.Variant) own do
                    let name = if byTerm then term else variant
                    let panel = if byTerm then 0 else Array.IndexOf(panels, term)
                    let index = Array.IndexOf(series, name)
                    let steps = overSeeds limit line

                    let place = [
                        "xaxis", box $"x{suffix panel}"
                        "yaxis", box $"y{suffix panel}"
                        "legendgroup", box name
                    ]

                    let xs = steps |> Array.map (fun (step, _, _) -> round4 step)
                    let banded = steps |> Array.filter (fun (_, _, spread) -> isFinite spread)

                    if banded.Length > 1 then
                        let upper =
                            banded |> Array.map (fun (_, centre, spread) -> round4 (centre + spread))

                        let lower =
                            banded
                            |> Array.map (fun (_, centre, spread) ->
                                // A logarithmic axis has no place for what lies below 0: the band ends at a tenth of the mean.
                                round4 (if logY then max (centre - spread) (centre / 10.0) else centre - spread))

                        let bandXs = banded |> Array.map (fun (step, _, _) -> round4 step)

                        "scatter",
                        [
                            "x", box (Array.append bandXs (Array.rev bandXs))
                            "y", box (Array.append upper (Array.rev lower))
                            "mode", box "lines"
                            "fill", box "toself"
                            "fillcolor", box (translucent index 0.18)
                            "line", box (node [ "width", box 0 ])
                            "hoverinfo", box "skip"
                            "showlegend", box false
                        ]
                        @ place

                    "scatter",
                    [
                        "x", box xs
                        "y", box (steps |> Array.map (fun (_, centre, _) -> round4 centre))
                        "name", box (MapAxes.escape name)
                        "mode", box (if steps.Length = 1 then "markers" else "lines")
                        "line", box (node [ "color", box (colour index); "width", box 2 ])
                        "showlegend", box (panel = 0)
                        "hovertemplate", box "%{x}: %{y:.4g}<extra>%{fullData.name}</extra>"
                    ]
                    @ place
        ]

        let notes =
            if seeds > 1 then
                [ $"line: mean over {seeds} seeds; band: ± 1 standard deviation" ]
            else
                []

        let extraX = if logX then logarithmic (points |> Array.map _.Step) else []
        let extraY = if logY then logarithmic (points |> Array.map _.Value) else []
        chart traces (panelLayout (MapAxes.subtitle title notes) panels xTitle yTitle (series.Length > 1) extraX extraY)

    let rowDivergence
        (rows: float[,])
        (tokens: string seq option)
        (title: string)
        (yTitle: string)
        (seriesNames: string seq option)
        =
        let heads, length = Array2D.length1 rows, Array2D.length2 rows

        let names =
            match seriesNames with
            | Some names -> Seq.toArray names
            | None -> Array.init heads (fun head -> $"head {head}")

        if names.Length <> heads then
            invalidArg "names" $"{names.Length} names do not fit {heads} rows. Pass one name per row, or leave the argument out."

        let tokens = tokens |> Option.map Seq.toArray

        match tokens with
        | Some tokens when tokens.Length > length ->
            invalidArg "tokens" $"{tokens.Length} tokens do not fit {length} positions. Pass the tokens of the same sequence."
        | _ -> ()

        let length = tokens |> Option.map Array.length |> Option.defaultValue length
        let limit = longestLine (heads + 1)
        let block = max 1 ((length + limit - 1) / limit)
        let rows = rows[*, .. length - 1] |> blockMean 1 block
        let positions = Array.init (Array2D.length2 rows) (fun cell -> cell * block)

        let line head =
            Array.init positions.Length (fun cell -> round4 rows[head, cell])

        let hover =
            match tokens with
            | Some tokens -> [
                "text", box (positions |> Array.map (fun position -> MapAxes.escape tokens[position]))
              ]
            | None -> []

        let average =
            Array.init positions.Length (fun cell ->
                Array.init heads (fun head -> rows[head, cell])
                |> Array.filter isFinite
                |> mean
                |> round4)

        let template = "position %{x} %{text}<br>%{y:.4g}<extra>%{fullData.name}</extra>"

        let traces = [
            for head in 0 .. heads - 1 do
                "scatter",
                [
                    "x", box positions
                    "y", box (line head)
                    "name", box (MapAxes.escape names[head])
                    "mode", box "lines"
                    "line",
                    box (
                        node [
                            "color", box (colourOf heads head)
                            "width", box (if heads = 1 then 2.0 else 1.0)
                        ]
                    )
                    "opacity", box (if heads = 1 then 1.0 else 0.6)
                    "hovertemplate", box template
                ]
                @ hover
            if heads > 1 then
                "scatter",
                [
                    "x", box positions
                    "y", box average
                    "name", box "mean"
                    "mode", box "lines"
                    "line", box (node [ "color", box ink; "width", box 2.5 ])
                    "hovertemplate", box template
                ]
                @ hover
        ]

        let ticks =
            match tokens with
            | Some tokens when tokens.Length <= 64 -> [
                "tickvals", box positions
                "ticktext", box (tokens |> Array.map MapAxes.escape)
                "tickangle", box -90
              ]
            | _ -> []

        chart
            traces
            (panelLayout
                (MapAxes.escape title)
                [| "" |]
                (if tokens.IsSome then "Query token" else "Query position")
                yTitle
                (heads > 1)
                ticks
                [])
