namespace AttentionDistillation.Notebooks

open AttentionDistillation.Analysis
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Calibration pictures.
module internal PlotReliability =

    let reliability (variants: (string * Calibration)[]) (title: string) =
        if variants.Length = 0 then
            invalidArg "calibrations" "There is nothing to plot. Pass at least one variant with its calibration."

        for name, calibration in variants do
            if calibration.Bins |> Seq.sumBy _.Count = 0L then
                invalidArg "calibrations" $"'{name}' has no samples in any bin."

        let names =
            variants
            |> Array.map (fun (name, calibration) -> $"{name} (ECE %.3f{calibration.ExpectedError})")

        let traces = [
            for index in 0 .. variants.Length - 1 do
                let name, calibration = variants[index]
                let total = calibration.Bins |> Seq.sumBy _.Count |> float

                let filled =
                    calibration.Bins |> Seq.filter (fun bin -> bin.Count > 0L) |> Seq.toArray

                let axes = [
                    "xaxis", box ("x" + PanelGrid.suffix index)
                    "yaxis", box ("y" + PanelGrid.suffix index)
                ]

                "bar",
                [
                    "x", box (filled |> Array.map (fun bin -> round4 ((bin.Lower + bin.Upper) / 2.0)))
                    "y", box (filled |> Array.map (fun bin -> round4 bin.Accuracy))
                    "width", box (filled |> Array.map (fun bin -> round4 (bin.Upper - bin.Lower)))
                    "name", box name
                    "showlegend", box false
                    "customdata",
                    box (
                        filled
                        |> Array.map (fun bin -> [| box (round4 bin.Confidence); box bin.Count |])
                    )
                    "marker",
                    box (
                        node [
                            "color", box (filled |> Array.map (fun bin -> round4 (float bin.Count / total)))
                            "colorscale",
                            box [|
                                [| box 0.0; box "#d6e4f0" |]
                                [| box 0.4; box "#2f6fab" |]
                                [| box 1.0; box "#0b3c66" |]
                            |]
                            "cmin", box 0.0
                            "cmax", box 1.0
                            "line", box (node [ "color", box "white"; "width", box 1 ])
                        ]
                    )
                    "hovertemplate",
                    box
                        "accuracy %{y:.3f}, mean confidence %{customdata[0]}<br>%{customdata[1]} samples<extra>%{fullData.name}</extra>"
                ]
                @ axes

                "scatter",
                [
                    "x", box [| 0; 1 |]
                    "y", box [| 0; 1 |]
                    "mode", box "lines"
                    "showlegend", box false
                    "hoverinfo", box "skip"
                    "line", box (node [ "color", box softInk; "width", box 1; "dash", box "dash" ])
                ]
                @ axes
        ]

        let unit: Members = [ "range", box [| 0.0; 1.02 |]; "dtick", box 0.25 ]

        PanelGrid.panelLayout
            (MapAxes.subtitle title [
                "dark bars hold more samples; on the dashed line a net is as right as it is sure"
            ])
            names
            "Confidence"
            "Accuracy"
            false
            unit
            unit
        |> chart traces
