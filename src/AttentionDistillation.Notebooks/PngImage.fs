namespace AttentionDistillation.Notebooks

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression

/// Small pictures as PNG, for figures: 8-bit RGB, one IDAT chunk, no filters (ISO/IEC 15948).
module internal PngImage =

    let private crcTable =
        Array.init 256 (fun start ->
            let mutable value = uint32 start

            for _ in 1..8 do
                value <- if value &&& 1u = 1u then (value >>> 1) ^^^ 0xEDB88320u else value >>> 1

            value)

    let private crc (bytes: byte[]) =
        let mutable value = UInt32.MaxValue

        for each in bytes do
            value <- crcTable[int ((value ^^^ uint32 each) &&& 0xFFu)] ^^^ (value >>> 8)

        ~~~value

    let private bigEndian (value: uint32) =
        let bytes = Array.zeroCreate<byte> 4
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value)
        bytes

    let private chunk (name: string) (content: byte[]) =
        let named = Array.append (Text.Encoding.ASCII.GetBytes name) content
        Array.concat [ bigEndian (uint32 content.Length); named; bigEndian (crc named) ]

    /// A picture of `height` rows; `colour row column` gives red, green, blue. Every pixel becomes a square of `scale` pixels.
    let encode width height scale (colour: int -> int -> struct (byte * byte * byte)) : byte[] =
        let wide = width * scale
        use packed = new MemoryStream()

        (use deflated =
            new ZLibStream(packed, CompressionLevel.SmallestSize, leaveOpen = true)

         for row in 0 .. height - 1 do
             let line = Array.zeroCreate<byte>(1 + 3 * wide)

             for column in 0 .. wide - 1 do
                 let struct (red, green, blue) = colour row (column / scale)
                 line[1 + 3 * column] <- red
                 line[2 + 3 * column] <- green
                 line[3 + 3 * column] <- blue

             for _ in 1..scale do
                 deflated.Write(line, 0, line.Length))

        let header =
            Array.concat [
                bigEndian (uint32 wide)
                bigEndian (uint32 (height * scale))
                [| 8uy; 2uy; 0uy; 0uy; 0uy |]
            ]

        Array.concat [
            [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]
            chunk "IHDR" header
            chunk "IDAT" (packed.ToArray())
            chunk "IEND" [||]
        ]

    let dataUri (png: byte[]) =
        "data:image/png;base64," + Convert.ToBase64String png
