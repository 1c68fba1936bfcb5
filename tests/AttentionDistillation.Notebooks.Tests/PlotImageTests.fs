module AttentionDistillation.Notebooks.Tests.PlotImageTests

open System
open System.Text.Json
open TorchSharp
open Xunit
open AttentionDistillation.Analysis
open AttentionDistillation.Notebooks
open AttentionDistillation.Notebooks.Tests.Figures

/// The pixels of a picture of a figure, by an independent reader: inflated rows without their filter byte.
let private pixels (figure: JsonElement) index =
    let images = figure.GetProperty("layout").GetProperty "images"
    let source = nonNull (images[index].GetProperty("source").GetString())
    let png = Convert.FromBase64String(source.Substring(source.IndexOf ',' + 1))
    Assert.Equal<byte[]>([| 137uy; 80uy; 78uy; 71uy; 13uy; 10uy; 26uy; 10uy |], png[..7])

    let number at =
        Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(ReadOnlySpan(png, at, 4))

    let width, height = number 16, number 20
    let length = number 33
    use deflated = new IO.MemoryStream(png, 41, length)

    use stream =
        new IO.Compression.ZLibStream(deflated, IO.Compression.CompressionMode.Decompress)

    use unpacked = new IO.MemoryStream()
    stream.CopyTo unpacked
    let bytes = unpacked.ToArray()
    Assert.Equal(height * (1 + 3 * width), bytes.Length)
    width, height, (fun row column -> let at = row * (1 + 3 * width) + 1 + 3 * column in bytes[at], bytes[at + 1], bytes[at + 2])

[<Fact>]
let ``an image's picture holds its values from black to white`` () =
    use image =
        torch.tensor([| -1.0f; 0.0f; 1.0f; 3.0f; 0.0f; 0.0f; 0.0f; 0.0f; 1.0f; 1.0f; 1.0f; 1.0f |]).reshape(3L, 2L, 2L)

    let figure = parse (Plot.images (image, lowest = -1.0, highest = 1.0))
    let width, height, at = pixels figure 0
    Assert.Equal((96, 96), (width, height))
    Assert.Equal((0uy, 128uy, 255uy), at 0 0)
    Assert.Equal((128uy, 128uy, 255uy), at 10 90)
    Assert.Equal((255uy, 128uy, 255uy), at 95 0)
    Assert.Equal((255uy, 128uy, 255uy), at 95 95)

[<Fact>]
let ``attention over an image lies where its patches are`` () =
    use image = torch.zeros (3L, 16L, 32L)
    let weights = [ for patch in 0..7 -> float patch / 10.0 ]

    let figure =
        parse (Plot.imageAttention (image, [ "head 0", weights; "head 1", weights ], oneScale = true, key = (8.0, 8.0, 4.0)))

    Assert.Equal(3, figure.GetProperty("data").GetArrayLength())
    Assert.Equal(3, figure.GetProperty("layout").GetProperty("images").GetArrayLength())
    Assert.Equal(3, figure.GetProperty("layout").GetProperty("shapes").GetArrayLength())
    let map = rows ((trace 1 figure).GetProperty "z")
    Assert.Equal<float[]>([| 0.4; 0.5; 0.6; 0.7 |], map[1])
    Assert.Equal(8.0, (trace 1 figure).GetProperty("dx").GetDouble())
    Assert.Equal(4.0, (trace 1 figure).GetProperty("y0").GetDouble())

[<Fact>]
let ``pictures that cannot be are refused`` () =
    use image = torch.zeros (3L, 16L, 16L)
    use two = torch.zeros (2L, 2L, 16L, 16L)

    Assert.Contains(
        "no grid of square patches",
        message (fun () -> Plot.imageAttention (image, [ "cls", List.replicate 17 0.1 ]))
    )

    Assert.Contains("these have 2", message (fun () -> Plot.images two))
    Assert.Contains("2 titles for 1 images", message (fun () -> Plot.images (image, titles = [ "a"; "b" ])))
    Assert.Contains("no attention", message (fun () -> Plot.imageAttention (image, ([]: (string * float list) list))))

[<Fact>]
let ``a reliability diagram shows the bins and says the error of its calibration`` () =
    // One of two right at confidence 0.6, three of three at 0.9: |0.5 - 0.6| and |1 - 0.9| weighed by 2 and 3 of 5.
    use chances =
        torch.tensor (array2D [ [ 0.6; 0.4 ]; [ 0.6; 0.4 ]; [ 0.9; 0.1 ]; [ 0.9; 0.1 ]; [ 0.9; 0.1 ] ])

    use labels = torch.tensor [| 0L; 1L; 0L; 0L; 0L |]
    let calibration = Calibration.OfProbabilities(chances, labels, null, 4)
    let figure = parse (Plot.reliability [ "net", calibration ])
    Assert.Equal<float[]>([| 0.625; 0.875 |], numbers ((trace 0 figure).GetProperty "x"))
    Assert.Equal<float[]>([| 0.5; 1.0 |], numbers ((trace 0 figure).GetProperty "y"))
    Assert.Equal<float[]>([| 0.25; 0.25 |], numbers ((trace 0 figure).GetProperty "width"))

    let two =
        ChartOutput.json (Plot.reliability [ "net", calibration; "other", calibration ])

    Assert.Contains("net (ECE 0.100)", two)

    use none = torch.full_like (labels, TorchSharp.Scalar.op_Implicit -100L)
    let empty = Calibration.OfProbabilities(chances, none, null)
    Assert.Contains("no samples", message (fun () -> Plot.reliability [ "a", empty ]))
    Assert.Contains("nothing to plot", message (fun () -> Plot.reliability []))
