namespace AttentionDistillation.Notebooks

open System
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// One metric of all variants, with error bars over seeds.
module internal PlotVariants =

    /// The range of an axis that shows differences: bars start at 0 only where 0 is near.
    let private range (values: float[]) =
        let low, high = Array.min values, Array.max values
        let spread = if high > low then high - low else max (abs high) 1.0 * 0.1

        if low >= 0.0 && low <= 1.5 * spread then 0.0, high + 0.12 * spread
        elif high <= 0.0 && -high <= 1.5 * spread then low - 0.12 * spread, 0.0
        else low - 0.35 * spread, high + 0.12 * spread

    let variants
        (all: Measurement seq)
        (metric: string option)
        (baseline: string option)
        (title: string)
        (yTitle: string option)
        =
        let all = Seq.toArray all
        requireAny "measurements" "measurements" all
        let metrics = all |> Array.map _.Metric |> Array.distinct

        let metric =
            match metric with
            | Some metric when Array.contains metric metrics -> metric
            | Some metric ->
                let known = String.Join(", ", metrics)
                invalidArg "metric" $"There is no metric '{metric}' among the measurements. There are: {known}."
            | None when metrics.Length = 1 -> metrics[0]
            | None ->
                let known = String.Join(", ", metrics)
                invalidArg "metric" $"The measurements hold several metrics. Choose one with metric = ...: {known}."

        let rows =
            all
            |> Array.filter (fun item -> item.Metric = metric)
            |> groups (fun (item: Measurement) -> item.Variant)
            |> Array.map (fun (variant, own) -> variant, own |> Array.filter (fun item -> isFinite item.Value))

        let values = rows |> Array.collect (fun (_, own) -> own |> Array.map _.Value)

        if values.Length = 0 then
            invalidArg
                "measurements"
                $"Every seed of '{metric}' failed (no finite value). Look at the errors of the runs before plotting."

        let baselineMean =
            baseline
            |> Option.map (fun name ->
                match rows |> Array.tryFind (fun (variant, _) -> variant = name) with
                | Some(_, own) when own.Length > 0 -> name, own |> Array.averageBy _.Value
                | _ ->
                    let known = String.Join(", ", Array.map fst rows)
                    invalidArg "baseline" $"There is no measured variant '{name}' to draw as baseline. There are: {known}.")

        let centres = rows |> Array.map (fun (_, own) -> own |> Array.map _.Value |> mean)

        let spreads =
            rows |> Array.map (fun (_, own) -> own |> Array.map _.Value |> deviation)

        let ends =
            Array.zip centres spreads
            |> Array.collect (fun (centre, spread) -> if isFinite spread then [| centre - spread; centre + spread |] else [||])

        let low, high = range (Array.concat [ values; ends ])
        let names = rows |> Array.map (fst >> MapAxes.escape)
        // Long names read better from left to right: bars lie down.
        let longest = names |> Array.map _.Length |> Array.max
        let left = 60 + int (float longest * 6.8)
        let height = 110 + 40 * rows.Length + 50

        let bars =
            "bar",
            [
                "orientation", box "h"
                "y", box names
                "base", box (Array.create rows.Length low)
                "x", box (centres |> Array.map (fun centre -> round4 (centre - low)))
                "customdata", box (Array.map round4 centres)
                "width", box 0.62
                "marker",
                box (
                    node [
                        "color",
                        box (
                            rows
                            |> Array.map (fun (variant, _) ->
                                if Some variant = baseline then "rgba(91,91,91,0.45)" else translucent 0 0.55)
                        )
                    ]
                )
                "showlegend", box false
                "hovertemplate", box "%{y}<br>mean %{customdata}<extra></extra>"
            ]

        // The error bars hang on the means, for the bars do not begin at 0 everywhere.
        let means =
            "scatter",
            [
                "mode", box "markers"
                "x", box (Array.map round4 centres)
                "y", box names
                "marker", box (node [ "color", box ink; "size", box 11; "symbol", box "line-ns-open" ])
                "error_x",
                box (
                    node [
                        "type", box "data"
                        "array",
                        box (
                            spreads
                            |> Array.map (fun spread -> if isFinite spread then round4 spread else 0.0)
                        )
                        "color", box ink
                        "thickness", box 1.5
                        "width", box 5
                    ]
                )
                "name", box "mean ± sd"
                "hoverinfo", box "skip"
            ]

        let points =
            let all = [|
                for variant, own in rows do
                    for item in own -> MapAxes.escape variant, item
            |]

            "scatter",
            [
                "mode", box "markers"
                "x", box (all |> Array.map (fun (_, item) -> round4 item.Value))
                "y", box (Array.map fst all)
                "text", box (all |> Array.map (fun (_, item) -> $"seed {item.Seed}"))
                "marker",
                box (
                    node [
                        "color", box "white"
                        "size", box 6
                        "line", box (node [ "color", box (colour 1); "width", box 1.5 ])
                    ]
                )
                "name", box "single seeds"
                "hovertemplate", box "%{text}: %{x}<extra>%{y}</extra>"
            ]

        let shapes, note =
            match baselineMean with
            | None -> [||], ""
            | Some(name, value) ->
                [|
                    node [
                        "type", box "line"
                        "x0", box value
                        "x1", box value
                        "yref", box "paper"
                        "y0", box 0
                        "y1", box 1
                        "line", box (node [ "color", box softInk; "width", box 1.2; "dash", box "dash" ])
                    ]
                |],
                $"dashed: {name}"

        let layout =
            layout
                (MapAxes.subtitle title [
                    "bars: mean ± standard deviation over seeds; points: single seeds"
                    note
                    (if low > 0.0 || high < 0.0 then "axis does not begin at 0" else "")
                ])
                Width
                height
                (left, 30, 76, 56)
                [
                    "xaxis", box (axis (MapAxes.escape (defaultArg yTitle metric)) [ "range", box [| low; high |] ])
                    "yaxis", box (axis "" [ "autorange", box "reversed"; "showgrid", box false; "ticks", box "" ])
                    "shapes", box shapes
                    "showlegend", box false
                ]

        chart [ bars; means; points ] layout
