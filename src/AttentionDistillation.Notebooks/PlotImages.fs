namespace AttentionDistillation.Notebooks

open System
open TorchSharp
open AttentionDistillation.Notebooks.PlotData
open AttentionDistillation.Notebooks.Theme

/// Images, and attention over them.
module internal PlotImages =

    /// Images [n][channels] of [H, W] out of a tensor [n, C, H, W], [C, H, W] or [H, W].
    let private planes (images: torch.Tensor) =
        use scope = torch.NewDisposeScope()

        let images =
            match images.dim () with
            | 2L -> images.unsqueeze(0L).unsqueeze 0L
            | 3L -> images.unsqueeze 0L
            | 4L -> images
            | _ ->
                invalidArg
                    "images"
                    $"Images have shape [n, C, H, W], [C, H, W] or [H, W], but this tensor has shape {TensorInterop.shapeText images}. Index or reshape it."

        if images.numel () = 0L then
            invalidArg "images" "There is no image to plot: a dimension is empty."

        if images.shape[1] <> 1L && images.shape[1] <> 3L then
            invalidArg
                "images"
                $"Images have 1 channel (grey) or 3 (red, green, blue), but these have {images.shape[1]}. Choose with tensor.narrow(1, first, 3)."

        Array.init (int images.shape[0]) (fun number -> TensorInterop.matrices images[int64 number])

    /// The range that becomes black to white: given, or of all values without the half percent at either end.
    let private range lowest highest (images: float[,][][]) =
        let values = images |> Array.collect (Array.collect finiteValues) |> Array.sort

        if values.Length = 0 then
            invalidArg "images" "No value of the images is finite."

        let at share =
            values[min (values.Length - 1) (int (share * float values.Length))]

        let low, high = defaultArg lowest (at 0.005), defaultArg highest (at 0.995)

        if high > low then low, high else low, low + 1.0

    let private encode (low, high) scale (image: float[,][]) =
        let level (value: float) =
            if isFinite value then
                byte (Math.Clamp((value - low) / (high - low), 0.0, 1.0) * 255.0 + 0.5)
            else
                0uy

        PngImage.encode (Array2D.length2 image[0]) (Array2D.length1 image[0]) scale (fun row column ->
            struct (level image[0].[row, column],
                    level image[min 1 (image.Length - 1)].[row, column],
                    level image[image.Length - 1].[row, column]))
        |> PngImage.dataUri

    let private suffix index =
        if index = 0 then "" else string (index + 1)

    /// A heading broken between words, so that no line is wider than its panel.
    let private wrapped (side: float) headingSize (heading: string) =
        let room = max 6 (int (side / (0.56 * float headingSize)))
        let lines = Collections.Generic.List<string>()

        for word in heading.Split ' ' do
            if lines.Count > 0 && lines[lines.Count - 1].Length + 1 + word.Length <= room then
                lines[lines.Count - 1] <- lines[lines.Count - 1] + " " + word
            else
                lines.Add word

        lines.ToArray()

    /// Panels in rows: their axes in pixels of the picture, the pictures beneath, a heading over each.
    let private panels (count: int) columns (height: int, width: int) (wantedSide: float) headingSize headings pictures =
        let columns = max 1 (min columns count)
        let rows = (count + columns - 1) / columns
        let left, right, top, bottom = 24, 100, 64, 16
        let gapX = 10.0

        let side =
            min wantedSide ((float (Width - left - right) - gapX * float (columns - 1)) / float columns)

        let headings =
            Array.init count (fun index -> wrapped side headingSize (headings index))

        let lines = headings |> Array.map Array.length |> Array.max
        let gapY = float (lines * (headingSize + 4)) + 10.0

        let panelHeight = side * float height / float width

        let plotWidth, plotHeight =
            side * float columns + gapX * float (columns - 1), (panelHeight + gapY) * float rows

        let xs, ys =
            MapAxes.domains columns (gapX / plotWidth),
            Array.init rows (fun row ->
                let low = float row * (panelHeight + gapY) / plotHeight
                low, low + panelHeight / plotHeight)

        let place index =
            xs[index % columns], ys[rows - 1 - index / columns]

        let axes = [
            for index in 0 .. count - 1 do
                let x, y = place index

                let plain = [
                    "showticklabels", box false
                    "ticks", box ""
                    "showgrid", box false
                    "zeroline", box false
                ]

                $"xaxis{suffix index}", box (MapAxes.bare ("y" + suffix index) x ([ "range", box [| 0; width |] ] @ plain))

                $"yaxis{suffix index}", box (MapAxes.bare ("x" + suffix index) y ([ "range", box [| height; 0 |] ] @ plain))
        ]

        let images = [|
            for index in 0 .. count - 1 do
                node [
                    "source", box (pictures index: string)
                    "xref", box ("x" + suffix index)
                    "yref", box ("y" + suffix index)
                    "x", box 0
                    "y", box 0
                    "sizex", box width
                    "sizey", box height
                    "sizing", box "stretch"
                    "layer", box "below"
                ]
        |]

        let labels = [|
            for index in 0 .. count - 1 do
                let (x0, x1), (_, y1) = place index

                label
                    (String.Join("<br>", Array.map MapAxes.escape headings[index]))
                    ((x0 + x1) / 2.0)
                    y1
                    "center"
                    "bottom"
                    headingSize
                    []
        |]

        (left + right + int plotWidth), (top + bottom + int plotHeight), (left, right, top, bottom), axes, images, labels

    /// A panel's two corners, unseen: a panel without a trace is not drawn.
    let private corners (height: int) (width: int) index : string * Members =
        "scatter",
        [
            "x", box [| 0; width |]
            "y", box [| 0; height |]
            "mode", box "markers"
            "opacity", box 0
            "hoverinfo", box "skip"
            "showlegend", box false
            "xaxis", box ("x" + suffix index)
            "yaxis", box ("y" + suffix index)
        ]

    let private scaleFor width = max 1 (int (ceil (96.0 / float width)))

    let images (tensor: torch.Tensor) (titles: string[]) (title: string) columns lowest highest =
        let images = planes tensor
        let height, width = Array2D.length1 images[0].[0], Array2D.length2 images[0].[0]
        let limits = range lowest highest images

        if titles.Length > 0 && titles.Length <> images.Length then
            invalidArg "titles" $"There are {titles.Length} titles for {images.Length} images. Give one an image, or none."

        let width', height', margins, axes, pictures, labels =
            panels
                images.Length
                (defaultArg columns (if images.Length <= 6 then images.Length else 6))
                (height, width)
                140.0
                11
                (fun index -> if titles.Length = 0 then "" else titles[index])
                (fun index -> encode limits (scaleFor width) images[index])

        let traces = List.init images.Length (corners height width)

        layout (MapAxes.subtitle title []) width' height' margins ([ "images", box pictures; "annotations", box labels ] @ axes)
        |> chart traces

    /// One row of attention weights as a map of the image's patches.
    let private patchMap (name: string) (height: int, width: int) (weights: float[]) =
        // Patches lie row by row, as many a side as the image's shape asks for.
        let rows =
            int (Math.Round(sqrt (float weights.Length * float height / float width)))

        if
            rows < 1
            || weights.Length % rows <> 0
            || rows * width <> weights.Length / rows * height
        then
            invalidArg
                "weights"
                $"'{name}' has {weights.Length} weights, which no grid of square patches over {height} × {width} pixels has. Leave out class and distillation tokens."

        let columns = weights.Length / rows
        Array2D.init rows columns (fun row column -> weights[row * columns + column])

    let attention
        (image: torch.Tensor)
        (maps: (string * float[])[])
        (title: string)
        columns
        shared
        (marks: (float * float * float) option)
        =
        if maps.Length = 0 then
            invalidArg "maps" "There is no attention to plot. Pass at least one name with the weights of the patches."

        let image = planes image

        if image.Length <> 1 then
            invalidArg "image" $"One image was expected, not {image.Length}. Index the batch."

        let height, width = Array2D.length1 image[0].[0], Array2D.length2 image[0].[0]
        let picture = encode (range None None image) (scaleFor width) image[0]

        let maps =
            maps
            |> Array.map (fun (name, weights) -> name, patchMap name (height, width) weights)

        let count = maps.Length + 1

        let width', height', margins, axes, pictures, labels =
            panels
                count
                (defaultArg columns (if count <= 5 then count else 5))
                (height, width)
                190.0
                12
                (fun index -> if index = 0 then "image" else fst maps[index - 1])
                (fun _ -> picture)

        let top = largest (maps |> Seq.map snd)

        let traces = [
            // The picture's own panel: nothing over it.
            corners height width 0
            for index in 1 .. maps.Length do
                let name, map = maps[index - 1]

                let patchHeight, patchWidth =
                    float height / float (Array2D.length1 map), float width / float (Array2D.length2 map)

                let scale =
                    if shared then
                        [ "coloraxis", box "coloraxis" ]
                    else
                        [
                            "colorscale", box Sequential
                            "zmin", box 0.0
                            "zmax", box (round4 (largest [ map ]))
                            "showscale", box false
                        ]

                "heatmap",
                [
                    "z", box (jagged round4 map)
                    "x0", box (patchWidth / 2.0)
                    "dx", box patchWidth
                    "y0", box (patchHeight / 2.0)
                    "dy", box patchHeight
                    "opacity", box 0.72
                    "xaxis", box ("x" + suffix index)
                    "yaxis", box ("y" + suffix index)
                    "name", box name
                    "hovertemplate", box "weight %{z:.4f}<extra>%{fullData.name}</extra>"
                ]
                @ scale
        ]

        // The place that matters, where it is known, in every panel.
        let circles =
            match marks with
            | None -> [||]
            | Some(x, y, radius) -> [|
                for index in 0 .. count - 1 do
                    node [
                        "type", box "circle"
                        "xref", box ("x" + suffix index)
                        "yref", box ("y" + suffix index)
                        "x0", box (round4 (x - radius))
                        "x1", box (round4 (x + radius))
                        "y0", box (round4 (y - radius))
                        "y1", box (round4 (y + radius))
                        "line", box (node [ "color", box "white"; "width", box 1.5; "dash", box "dot" ])
                    ]
              |]

        let note =
            if shared then
                "one colour scale"
            else
                "every map has its own colour scale from 0"

        let bar: Members =
            if shared then
                [
                    "coloraxis",
                    box (
                        node [
                            "colorscale", box Sequential
                            "cmin", box 0.0
                            "cmax", box (round4 top)
                            "colorbar", box (MapAxes.colourBar "Attention weight" [ "len", box 1.0 ])
                        ]
                    )
                ]
            else
                []

        layout
            (MapAxes.subtitle title [ note; (if marks.IsSome then "dotted circle: the key object" else "") ])
            width'
            height'
            margins
            ([ "images", box pictures; "annotations", box labels; "shapes", box circles ]
             @ bar
             @ axes)
        |> chart traces
