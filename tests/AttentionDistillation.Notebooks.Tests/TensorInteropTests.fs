module AttentionDistillation.Notebooks.Tests.TensorInteropTests

open System
open TorchSharp
open Xunit
open AttentionDistillation.Notebooks

[<Fact>]
let ``every type of number becomes an array`` () =
    let values = [| 1.0; 0.0; 2.0; 3.0; 4.0; 5.0 |]

    for kind in
        [
            torch.ScalarType.Float32
            torch.ScalarType.Float64
            torch.ScalarType.Float16
            torch.ScalarType.BFloat16
            torch.ScalarType.Int64
            torch.ScalarType.Int32
            torch.ScalarType.Byte
        ] do
        use source = TensorInterop.ofArray [ 2; 3 ] values
        use tensor = source.``to`` kind
        Assert.Equal<float[]>(values, TensorInterop.flat tensor)
        Assert.Equal(5.0, (TensorInterop.matrix tensor)[1, 2])
        Assert.Equal<int[]>([| 2; 3 |], TensorInterop.shape tensor)

[<Fact>]
let ``strides, gradients and large whole numbers survive`` () =
    use tensor = TensorInterop.ofArray [ 2; 3 ] [ 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 ]
    use turned = tensor.t().requires_grad_()
    Assert.Equal<float[]>([| 1.0; 4.0; 2.0; 5.0; 3.0; 6.0 |], TensorInterop.flat turned)
    use large = torch.tensor [| 16777217L |]
    Assert.Equal(16777217.0, TensorInterop.scalar large)

[<Fact>]
let ``reading tensors leaves none behind`` () =
    use tensor = torch.ones (3L, 4L, 4L, dtype = torch.ScalarType.BFloat16)
    TensorInterop.matrices tensor |> ignore
    Plot.headGrid tensor |> ignore
    let before = torch.Tensor.TotalCount

    for _ in 1..20 do
        TensorInterop.matrices tensor |> ignore
        Plot.headGrid tensor |> ignore

    Assert.InRange(torch.Tensor.TotalCount, 0L, before + 5L)

[<Fact>]
let ``wrong shapes are refused with what was given`` () =
    use tensor = torch.zeros (2L, 3L)

    let message (action: unit -> obj) =
        (Assert.Throws<ArgumentException>(Action(fun () -> action () |> ignore))).Message

    Assert.Contains("[2, 3]", message (fun () -> TensorInterop.scalar tensor))
    Assert.Contains("[2, 3]", message (fun () -> TensorInterop.vector tensor))
    Assert.Contains("holds 6", message (fun () -> TensorInterop.ofArray [ 2; 3 ] [ 1.0 ]))
