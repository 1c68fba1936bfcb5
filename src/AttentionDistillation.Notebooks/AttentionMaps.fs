namespace AttentionDistillation.Notebooks

open System
open TorchSharp
open AttentionDistillation.Attention

/// Attention maps of one or more layers and heads. Methods of Plot take tensors, arrays, attention states and traces where they ask for this type:
/// the conversion is implicit for every value whose type is known (bind an array literal to a name first, or use AttentionMaps.OfLayers).
[<Sealed>]
type AttentionMaps internal (titles: string[], extract: int -> float[,][][]) =

    static let check (maps: float[,][][]) =
        if
            maps.Length = 0
            || maps |> Array.exists Array.isEmpty
            || maps |> Array.exists (Array.exists (fun map -> map.Length = 0))
        then
            invalidArg
                "maps"
                "There is no attention map to plot: a dimension is empty. Pass maps with at least one query and one key."

        maps

    static let ofTensor (tensor: torch.Tensor) =
        AttentionMaps(
            [||],
            fun batch ->
                use scope = torch.NewDisposeScope()

                let item (t: torch.Tensor) dimension =
                    let size = t.shape[dimension]

                    if int64 batch >= size || batch < 0 then
                        invalidArg "batch" $"There is no sequence {batch} in a batch of {size}. Pass batch = 0 to {size - 1L}."

                    t.select (int64 dimension, int64 batch)

                match tensor.dim () with
                | 2L -> [| [| TensorInterop.matrix tensor |] |]
                | 3L -> [| TensorInterop.matrices tensor |]
                | 4L -> [| TensorInterop.matrices (item tensor 0) |]
                | 5L ->
                    let layers = item tensor 1
                    Array.init (int layers.shape[0]) (fun layer -> TensorInterop.matrices layers[int64 layer])
                | _ ->
                    invalidArg
                        "maps"
                        $"Attention maps have shape [L, S], [H, L, S], [B, H, L, S] or [layers, B, H, L, S], but this tensor has shape {TensorInterop.shapeText tensor}. Index or unsqueeze it."
        )

    static let ofState (state: AttentionState) =
        AttentionMaps(
            [||],
            fun batch ->
                use scope = torch.NewDisposeScope()
                use noGradient = torch.no_grad ()
                let size = state.Query.shape[0]

                if int64 batch >= size || batch < 0 then
                    invalidArg "batch" $"There is no sequence {batch} in a batch of {size}. Pass batch = 0 to {size - 1L}."

                // One sequence of the batch, before the map is built: the whole batch may not fit.
                let one (tensor: torch.Tensor) = tensor.narrow (0L, int64 batch, 1L)

                let mask =
                    match state.Mask with
                    | null -> null
                    | mask -> one mask

                let bias =
                    match state.Bias with
                    | null -> null
                    | bias when bias.dim () = 4L && bias.shape[0] = size -> one bias
                    | bias -> bias

                let single =
                    AttentionState(
                        one state.Query,
                        one state.Key,
                        one state.Value,
                        mask,
                        state.IsCausal,
                        Nullable state.Scale,
                        bias
                    )

                [| TensorInterop.matrices (single.Probabilities().squeeze 0L) |]
        )

    /// The maps of one sequence: [layers][heads] of [L, S].
    member _.Sequence(batch: int) : float[,][][] = check (extract batch)

    /// Names of the layers where known, else empty.
    member _.LayerTitles = titles

    /// Several layers, each with the same number of heads.
    static member OfLayers(layers: AttentionMaps seq) =
        let layers = Seq.toArray layers
        AttentionMaps([||], (fun batch -> layers |> Array.collect (fun layer -> layer.Sequence batch)))

    /// [L, S], [H, L, S], [B, H, L, S] or [layers, B, H, L, S].
    static member op_Implicit(tensor: torch.Tensor) : AttentionMaps = ofTensor tensor

    /// One map [L, S].
    static member op_Implicit(map: float[,]) : AttentionMaps =
        AttentionMaps([||], (fun _ -> [| [| map |] |]))

    /// One map [L, S].
    static member op_Implicit(map: float32[,]) : AttentionMaps =
        AttentionMaps([||], (fun _ -> [| [| Array2D.map float map |] |]))

    /// One map [L][S] of rows of equal length.
    static member op_Implicit(map: float[][]) : AttentionMaps =
        AttentionMaps([||], (fun _ -> [| [| array2D map |] |]))

    /// Heads of one layer.
    static member op_Implicit(heads: float[,][]) : AttentionMaps =
        AttentionMaps([||], (fun _ -> [| heads |]))

    /// Layers x heads.
    static member op_Implicit(layers: float[,][][]) : AttentionMaps = AttentionMaps([||], (fun _ -> layers))

    /// The probabilities of one attention call, computed here.
    static member op_Implicit(state: AttentionState) : AttentionMaps = ofState state

    /// Layers, each a tensor [H, L, S] or [B, H, L, S].
    static member op_Implicit(layers: torch.Tensor[]) : AttentionMaps =
        AttentionMaps.OfLayers(Array.map ofTensor layers)

    /// Layers, each a tensor [H, L, S] or [B, H, L, S].
    static member op_Implicit(layers: torch.Tensor list) : AttentionMaps =
        AttentionMaps.OfLayers(List.map ofTensor layers)

    /// Every attention call that a trace recorded, by layer.
    static member op_Implicit(trace: ForwardTrace) : AttentionMaps =
        let recorded = trace.Attentions |> Seq.sortBy _.Key |> Seq.toArray

        if recorded.Length = 0 then
            invalidArg
                (nameof trace)
                "The trace recorded no attention. Request it: TraceRequest.AllAttention or TraceRequest.Attention(layers)."

        AttentionMaps(
            recorded |> Array.map (fun entry -> $"layer {entry.Key}"),
            fun batch -> recorded |> Array.collect (fun entry -> (ofState entry.Value).Sequence batch)
        )

/// A table of numbers, rows x columns, for example a statistic per layer and head. Methods of Plot take tensors and arrays where they ask for this type.
[<Sealed>]
type Matrix internal (extract: int -> float[,]) =

    /// The numbers; `batch` chooses the sequence of a tensor [B, rows, columns].
    member _.Values(batch: int) : float[,] =
        let values = extract batch

        if values.Length = 0 then
            invalidArg "values" "There is nothing to plot: the matrix is empty. Pass at least one row and one column."

        values

    /// [columns], [rows, columns] or [B, rows, columns].
    static member op_Implicit(tensor: torch.Tensor) : Matrix =
        Matrix(fun batch ->
            use scope = torch.NewDisposeScope()

            match tensor.dim () with
            | 1L -> TensorInterop.matrix (tensor.unsqueeze 0L)
            | 2L -> TensorInterop.matrix tensor
            | 3L when batch >= 0 && int64 batch < tensor.shape[0] -> TensorInterop.matrix tensor[int64 batch]
            | 3L ->
                invalidArg
                    "batch"
                    $"There is no item {batch} in a batch of {tensor.shape[0]}. Pass batch = 0 to {tensor.shape[0] - 1L}."
            | _ ->
                invalidArg
                    "values"
                    $"A tensor [columns], [rows, columns] or [B, rows, columns] was expected, but it has shape {TensorInterop.shapeText tensor}. Index or reduce it.")

    /// One row.
    static member op_Implicit(row: float[]) : Matrix =
        Matrix(fun _ -> Array2D.init 1 row.Length (fun _ column -> row[column]))

    /// Rows x columns.
    static member op_Implicit(values: float[,]) : Matrix = Matrix(fun _ -> values)

    /// Rows x columns.
    static member op_Implicit(values: float32[,]) : Matrix =
        Matrix(fun _ -> Array2D.map float values)

    /// Rows of equal length.
    static member op_Implicit(values: float[][]) : Matrix = Matrix(fun _ -> array2D values)
