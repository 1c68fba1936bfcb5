namespace AttentionDistillation.Notebooks

open System
open TorchSharp

/// Tensors as plain F# arrays and back. Every function takes any floating, integer or bool type on any device and leaves the tensor as it was.
module TensorInterop =

    /// The shape as F# ints.
    let shape (tensor: torch.Tensor) : int[] = tensor.shape |> Array.map int

    /// The shape in brackets, for messages: `[2, 12, 64, 64]`.
    let shapeText (tensor: torch.Tensor) : string =
        "[" + String.Join(", ", tensor.shape) + "]"

    let internal flatFloat32 (tensor: torch.Tensor) : float32[] =
        if isNull (box tensor) then
            nullArg (nameof tensor)

        if tensor.is_complex () then
            invalidArg (nameof tensor) "A complex tensor has no single number per element. Pass its .real, .imag or .abs()."

        use scope = torch.NewDisposeScope()

        tensor.detach().``to``(torch.ScalarType.Float32).cpu().contiguous().data<float32>().ToArray()

    /// All values in row-major order; float64 tensors keep their precision, every other type (bfloat16 and float16 too) passes through float32.
    let flat (tensor: torch.Tensor) : float[] =
        if isNull (box tensor) then
            nullArg (nameof tensor)

        match tensor.dtype with
        | torch.ScalarType.Float64
        | torch.ScalarType.Int64
        | torch.ScalarType.Int32 ->
            use scope = torch.NewDisposeScope()
            // Whole numbers above 2^24 do not fit float32.
            tensor.detach().``to``(torch.ScalarType.Float64).cpu().contiguous().data<float>().ToArray()
        | _ -> flatFloat32 tensor |> Array.map float

    /// The one value of a scalar tensor.
    /// Raises ArgumentException when the tensor holds more or fewer values than one.
    let scalar (tensor: torch.Tensor) : float =
        if tensor.numel () <> 1L then
            invalidArg
                (nameof tensor)
                $"A scalar was expected, but the tensor has shape {shapeText tensor}. Reduce it first, for example with .mean()."

        (flat tensor)[0]

    let private require rank (letters: string) (tensor: torch.Tensor) =
        if tensor.dim () <> int64 rank then
            invalidArg
                (nameof tensor)
                $"A tensor {letters} was expected, but it has shape {shapeText tensor}. Index or unsqueeze it to {rank} dimensions."

    /// A tensor [N] as an array.
    let vector (tensor: torch.Tensor) : float[] =
        require 1 "[N]" tensor
        flat tensor

    /// A tensor [rows, columns] as an array.
    let matrix (tensor: torch.Tensor) : float[,] =
        require 2 "[rows, columns]" tensor
        let values, columns = flat tensor, int tensor.shape[1]
        Array2D.init (int tensor.shape[0]) columns (fun row column -> values[row * columns + column])

    /// A tensor [N, rows, columns] as N matrices, for example one attention map [L, S] per head.
    let matrices (tensor: torch.Tensor) : float[,][] =
        require 3 "[N, rows, columns]" tensor
        let values, rows, columns = flat tensor, int tensor.shape[1], int tensor.shape[2]

        Array.init (int tensor.shape[0]) (fun item ->
            Array2D.init rows columns (fun row column -> values[(item * rows + row) * columns + column]))

    /// A float32 tensor on the CPU of the given shape.
    /// Raises ArgumentException when the number of values does not fit the shape.
    let ofArray (shape: int seq) (values: float seq) : torch.Tensor =
        let shape, values =
            shape |> Seq.map int64 |> Seq.toArray, values |> Seq.map float32 |> Seq.toArray

        let expected = Array.fold (*) 1L shape

        if int64 values.Length <> expected then
            let text = String.Join(", ", shape)

            invalidArg
                (nameof values)
                $"{values.Length} values do not fill the shape [{text}], which holds {expected}. Correct one of the two."

        torch.tensor(values).reshape shape
