namespace AttentionDistillation.Notebooks

open System.Collections.Generic
open Plotly.NET

/// A JSON object.
type internal Node = Dictionary<string, obj | null>

/// Members of a JSON object in their order.
type internal Members = (string * (obj | null)) list

/// Colours, fonts and sizes that all plots share.
module Theme =

    /// Width of a full figure in pixels; the text column of a notebook is about 950 wide.
    [<Literal>]
    let Width = 900

    /// Qualitative colours that people with colour-blindness can tell apart (Okabe and Ito, Color Universal Design, 2008), darkest first.
    let palette = [|
        "#0072B2"
        "#D55E00"
        "#009E73"
        "#CC79A7"
        "#E69F00"
        "#56B4E9"
        "#5B5B5B"
        "#B8A800"
    |]

    /// The colour of the n-th series; the palette repeats after eight.
    let colour index = palette[index % palette.Length]

    /// The colour of the n-th series with an opacity from 0 to 1.
    let translucent index (opacity: float) =
        let hex = (colour index).Substring 1

        let part offset =
            System.Convert.ToInt32(hex.Substring(offset, 2), 16)

        let alpha =
            opacity.ToString("0.##", System.Globalization.CultureInfo.InvariantCulture)

        $"rgba({part 0},{part 2},{part 4},{alpha})"

    /// Viridis at seven even steps, cut before the yellow that white paper swallows.
    let private ramp = [|
        "#440154"
        "#443983"
        "#31688e"
        "#21918c"
        "#35b779"
        "#6ece58"
        "#b5de2b"
    |]

    /// The colour of one of `count` ordered series: of the palette while it lasts, else along a sequential scale.
    let colourOf count index =
        if count <= palette.Length then
            colour index
        else
            let position = float index / float (count - 1) * float (ramp.Length - 1)
            let low = min (int position) (ramp.Length - 2)

            let part (hex: string) offset =
                float (System.Convert.ToInt32(hex.Substring(offset, 2), 16))

            let mix offset =
                int (
                    part ramp[low] offset
                    + (position - float low) * (part ramp[low + 1] offset - part ramp[low] offset)
                )

            $"rgb({mix 1},{mix 3},{mix 5})"

    /// Perceptually uniform sequential scale.
    [<Literal>]
    let Sequential = "Viridis"

    let internal ink = "#1f2933"
    let internal softInk = "#52606d"
    let internal gridLine = "#e4e7eb"

    let internal fontFamily =
        "Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

    /// A JSON object.
    let internal node (members: Members) : Node =
        let dictionary = Node()

        for name, value in members do
            dictionary[name] <- value

        dictionary

    /// Diverging scale, blue below 0 and red above (ColorBrewer RdBu, reversed).
    let internal diverging: obj | null =
        [|
            "#053061"
            "#2166ac"
            "#4393c3"
            "#92c5de"
            "#d1e5f0"
            "#f7f7f7"
            "#fddbc7"
            "#f4a582"
            "#d6604d"
            "#b2182b"
            "#67001f"
        |]
        |> Array.mapi (fun index colour -> [| box (float index / 10.0); box colour |])
        |> box

    let internal font size =
        node [ "family", box fontFamily; "size", box size; "color", box ink ]

    let internal text (value: string) size =
        node [ "text", box value; "font", box (font size) ]

    /// An axis of a line, bar or distribution plot.
    let internal axis (title: string) (more: Members) =
        node (
            [
                "title", box (node [ "text", box title; "font", box (font 13); "standoff", box 12 ])
                "automargin", box true
                "gridcolor", box gridLine
                "zeroline", box false
                "linecolor", box "#9aa5b1"
                "showline", box true
                "ticks", box "outside"
                "tickcolor", box "#9aa5b1"
                "ticklen", box 4
            ]
            @ more
        )

    /// Ticks of a logarithmic axis at round numbers, written out: 1, 2, 5, 10 while few decades are seen, else powers of ten.
    let internal logarithmicTicks (values: float seq) : Members =
        let values =
            values
            |> Seq.filter (fun value -> System.Double.IsFinite value && value > 0.0)
            |> Seq.toArray

        if values.Length = 0 then
            []
        else
            let low, high = floor (log10 (Array.min values)), ceil (log10 (Array.max values))
            let digits = if high - low <= 3.0 then [ 1.0; 2.0; 5.0 ] else [ 1.0 ]
            let step = max 1 (int (high - low) / 8)

            let ticks = [|
                for power in int low .. step .. int high do
                    for digit in digits -> digit * System.Math.Pow(10.0, float power)
            |]

            [
                "tickvals", box ticks
                "ticktext",
                box (
                    ticks
                    |> Array.map (fun tick ->
                        let format = if tick >= 1e-4 && tick < 1e6 then "#,0.####" else "0E+0"
                        tick.ToString(format, System.Globalization.CultureInfo.InvariantCulture))
                )
            ]

    /// A text placed in fractions of the plot area.
    let internal label (value: string) (x: float) (y: float) (xAnchor: string) (yAnchor: string) size (more: Members) =
        node (
            [
                "text", box value
                "x", box x
                "y", box y
                "xref", box "paper"
                "yref", box "paper"
                "xanchor", box xAnchor
                "yanchor", box yAnchor
                "showarrow", box false
                "font", box (font size)
            ]
            @ more
        )

    /// The parts of a layout that all plots share; margins are left, right, top, bottom in pixels.
    let internal layout (title: string) width height (left, right, top, bottom) (more: Members) =
        node (
            [
                "title",
                box (
                    node [
                        "text", box title
                        "x", box (float left / float width)
                        "xanchor", box "left"
                        "y", box 1.0
                        "yanchor", box "top"
                        "pad", box (node [ "t", box 18 ])
                        "font", box (font 17)
                    ]
                )
                "width", box width
                "height", box height
                "margin", box (node [ "l", box left; "r", box right; "t", box top; "b", box bottom ])
                "font", box (font 12)
                "paper_bgcolor", box "white"
                "plot_bgcolor", box "white"
                "hoverlabel", box (node [ "font", box (node [ "family", box fontFamily; "size", box 12 ]) ])
            ]
            @ more
        )

    let private set (target: DynamicObj.DynamicObj) name (value: obj | null) =
        match value with
        | null -> ()
        | value -> target.SetProperty(name, value)

    /// A chart of raw traces (type, members) and a layout.
    let internal chart (traces: (string * Members) seq) (layout: Node) : GenericChart =
        let traces = [
            for kind, members in traces do
                let trace = Trace kind

                for name, value in members do
                    set trace name value

                trace
        ]

        let chartLayout = Layout()

        for entry in layout do
            set chartLayout entry.Key entry.Value

        let config = Config()
        config.SetProperty("displaylogo", false)
        config.SetProperty("responsive", false)
        config.SetProperty("modeBarButtonsToRemove", [| "lasso2d"; "select2d" |])
        config.SetProperty("toImageButtonOptions", node [ "format", box "svg" ])
        GenericChart.MultiChart(traces, chartLayout, config, Defaults.DefaultDisplayOptions)
