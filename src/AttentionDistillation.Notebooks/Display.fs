namespace AttentionDistillation.Notebooks

open System
open System.Collections
open System.Collections.Generic
open System.IO
open System.Reflection
open Microsoft.AspNetCore.Html
open Microsoft.DotNet.Interactive.Formatting
open Microsoft.FSharp.Reflection

/// A value in several forms at once: MIME type to text (JSON text for JSON types), as a notebook stores it.
type MimeBundle = IReadOnlyDictionary<string, string>

/// Takes what notebook cells show. The program that runs a notebook sets one; see <see cref="T:AttentionDistillation.Notebooks.Display"/>.
type IDisplaySink =
    /// Shows something new under an identity, which later updates name.
    abstract Display: id: string * bundle: MimeBundle -> unit

    /// Replaces what was shown under an identity, wherever it was shown.
    abstract Update: id: string * bundle: MimeBundle -> unit

/// Turns values into MIME bundles through Microsoft.DotNet.Interactive.Formatting.
[<RequireQualifiedAccess>]
module MimeBundle =
    /// The MIME type of an interactive Plotly chart, which VS Code and JupyterLab draw themselves.
    [<Literal>]
    let PlotlyMimeType = "application/vnd.plotly.v1+json"

    /// The MIME type of HTML.
    [<Literal>]
    let HtmlMimeType = "text/html"

    /// The MIME type of plain text.
    [<Literal>]
    let TextMimeType = "text/plain"

    let private toDictionary (pairs: (string * string) seq) : MimeBundle =
        let bundle = Dictionary<string, string>()

        for mimeType, text in pairs do
            bundle[mimeType] <- text

        bundle

    // A table of this many rows is enough to look at; more belongs in a frame.
    let private mostRows = 50

    let private isPlain (t: Type) =
        t.IsPrimitive
        || t.IsEnum
        || t = typeof<string>
        || t = typeof<decimal>
        || t = typeof<bigint>
        || FSharpType.IsTuple t
        || FSharpType.IsUnion t
        || FSharpType.IsFunction t

    let private elementType (t: Type) =
        Seq.append [ t ] (t.GetInterfaces())
        |> Seq.tryFind (fun each -> each.IsGenericType && each.GetGenericTypeDefinition() = typedefof<seq<_>>)
        |> Option.map (fun each -> each.GetGenericArguments()[0])

    // A type, those it derives from and those it implements; generic ones also as such.
    let private kinds (t: Type) =
        let rec ancestors (each: Type | null) =
            match each with
            | null -> []
            | each -> each :: ancestors each.BaseType

        ancestors t @ List.ofArray (t.GetInterfaces())
        |> List.collect (fun each ->
            if each.IsGenericType then
                [ each; each.GetGenericTypeDefinition() ]
            else
                [ each ])
        |> List.filter (fun each -> each <> typeof<obj>)
        |> HashSet

    let private isRegistered (t: Type) =
        let kinds = kinds t

        let mimeTypes =
            Formatter.RegisteredFormatters(false)
            |> Seq.filter (fun formatter -> kinds.Contains formatter.Type)
            |> Seq.map _.MimeType
            |> HashSet

        fun (mimeType: string) -> mimeTypes.Contains mimeType

    let private render mimeType (value: obj) =
        let formatter = Formatter.GetPreferredFormatterFor(value.GetType(), mimeType)

        if formatter.MimeType <> mimeType then
            None
        else
            use writer = new StringWriter()
            Formatter.Format(formatter, value, writer)
            Some(mimeType, writer.ToString())

    let private encode (text: string) : string =
        match Net.WebUtility.HtmlEncode text with
        | null -> ""
        | encoded -> encoded

    // Records in a sequence are the rows of a table, their fields its columns.
    let private recordTable (record: Type) (items: IEnumerable) =
        let fields = FSharpType.GetRecordFields record
        let read = FSharpValue.PreComputeRecordReader record
        let rows = items |> Seq.cast<obj> |> Seq.truncate (mostRows + 1) |> Seq.toArray

        let line (tag: string) (cells: string seq) =
            let cells =
                cells
                |> Seq.map (fun cell -> $"<{tag} style=\"text-align:left\">{encode cell}</{tag}>")

            $"""<tr>{String.concat "" cells}</tr>"""

        let cell (value: obj | null) =
            match value with
            | null -> "None"
            | :? string as text -> text
            | value -> sprintf "%A" value

        String.concat "" [
            "<table><thead>"
            fields |> Seq.map _.Name |> line "th"
            "</thead><tbody>"
            yield!
                rows
                |> Seq.truncate mostRows
                |> Seq.map (fun row -> read row |> Seq.map cell |> line "td")
            "</tbody></table>"
            if rows.Length > mostRows then
                $"<p>the first {mostRows} rows</p>"
        ]

    /// A bundle of one form.
    let single (mimeType: string) (text: string) = toDictionary [ mimeType, text ]

    /// A bundle of several forms.
    let create (forms: (string * string) seq) = toDictionary forms

    /// A value's forms: plain text always; HTML where the type has a richer form; a Plotly figure where a formatter for one is registered.
    let ofValue (value: obj | null) : MimeBundle =
        match value with
        | null -> single TextMimeType "null"
        | :? string as text -> single TextMimeType text
        | :? MimeBundle as bundle -> bundle
        | :? IHtmlContent as html ->
            use writer = new StringWriter()
            html.WriteTo(writer, Text.Encodings.Web.HtmlEncoder.Default)
            single HtmlMimeType (writer.ToString())
        | value ->
            let t = value.GetType()

            let text () =
                if isRegistered t TextMimeType then
                    render TextMimeType value
                else
                    Some(TextMimeType, sprintf "%A" value)

            let registered = [ PlotlyMimeType; HtmlMimeType ] |> List.filter (isRegistered t)

            let rich =
                match value, elementType t with
                | _ when not registered.IsEmpty -> registered |> List.map (fun mimeType -> render mimeType value)
                // What is plain reads best as F# writes it, also in a sequence.
                | :? IEnumerable, Some element when isPlain element -> []
                | :? IEnumerable as items, Some element when FSharpType.IsRecord element -> [
                    Some(HtmlMimeType, recordTable element items)
                  ]
                // F# lists confuse the formatting library, which walks their properties; as an array they become a table.
                | :? IEnumerable as items, Some _ -> [
                    items |> Seq.cast<obj> |> Seq.truncate mostRows |> Seq.toArray :> obj
                    |> render HtmlMimeType
                  ]
                | _ when isPlain t -> []
                | _ -> [ render HtmlMimeType value ]

            rich @ [ text () ] |> List.choose id |> toDictionary

/// Where displays go: to the sink that the running program set, else to .NET Interactive or Verso (found by reflection), else to the console.
[<AbstractClass; Sealed>]
type Display private () =
    static let mutable sink: IDisplaySink | null = null
    static let mutable prepare: Action | null = null

    static let interactiveContext () =
        AppDomain.CurrentDomain.GetAssemblies()
        |> Seq.tryFind (fun assembly -> assembly.GetName().Name = "Microsoft.DotNet.Interactive")
        |> Option.bind (fun assembly ->
            assembly.GetType("Microsoft.DotNet.Interactive.KernelInvocationContext")
            |> Option.ofObj)
        |> Option.bind (fun context ->
            context.GetProperty("Current", BindingFlags.Public ||| BindingFlags.Static)
            |> Option.ofObj)
        |> Option.bind (fun current -> current.GetValue(null: obj | null) |> Option.ofObj)

    /// The running program's sink; null when notebooks run elsewhere.
    static member Sink
        with get () = sink
        and set value = sink <- value

    /// Called once before the first value is formatted; the running program registers its formatters here.
    static member Prepare
        with get () = prepare
        and set value = prepare <- value

    /// The object that stands for the cell being run in .NET Interactive or Verso; null elsewhere.
    static member internal HostContext: obj | null = interactiveContext () |> Option.toObj

    /// A value's MIME bundle, formatters registered first.
    static member Bundle(value: obj | null) : MimeBundle =
        match prepare with
        | null -> ()
        | action ->
            prepare <- null
            action.Invoke()

        MimeBundle.ofValue value

    /// Shows a bundle in a host other than ours; returns what updates it, or null where nothing can be updated.
    static member internal ShowInHost(bundle: MimeBundle) : obj | null =
        let html =
            match bundle.TryGetValue MimeBundle.HtmlMimeType with
            | true, html -> Some html
            | _ -> None

        match interactiveContext (), html with
        | Some context, _ ->
            let value, mimeTypes =
                match html with
                | Some html -> box (HtmlString html), [||]
                | None ->
                    let form = Seq.head bundle
                    box form.Value, [| form.Key |]

            // An instance method in some releases, an extension method in others.
            let t = context.GetType()

            match t.GetMethod("Display", [| typeof<obj>; typeof<string[]> |]) with
            | null ->
                t.Assembly.GetType("Microsoft.DotNet.Interactive.KernelInvocationContextExtensions")
                |> Option.ofObj
                |> Option.bind (fun extensions ->
                    extensions.GetMethod("Display", [| t; typeof<obj>; typeof<string[]> |])
                    |> Option.ofObj)
                |> Option.bind (fun show -> show.Invoke(null, [| context; value; mimeTypes |]) |> Option.ofObj)
                |> Option.toObj
            | show -> show.Invoke(context, [| value; mimeTypes |])
        | None, _ ->
            match bundle.TryGetValue MimeBundle.TextMimeType with
            | true, text -> Console.Out.WriteLine text
            | _ ->
                bundle
                |> Seq.tryHead
                |> Option.iter (fun form -> Console.Out.WriteLine form.Value)

            null

/// Something that is shown and can be replaced in place.
[<Sealed>]
type DisplayHandle internal (bundle: MimeBundle) =
    let id = Guid.NewGuid().ToString "N"

    let host =
        match Display.Sink with
        | null -> Display.ShowInHost bundle
        | sink ->
            sink.Display(id, bundle)
            null

    /// The display's identity.
    member _.Id = id

    /// Replaces what is shown, in several forms.
    member _.UpdateBundle(bundle: MimeBundle) =
        match Display.Sink with
        | null ->
            match host with
            | null -> Display.ShowInHost bundle |> ignore
            | host ->
                let value =
                    match bundle.TryGetValue MimeBundle.HtmlMimeType with
                    | true, html -> box (HtmlString html)
                    | _ -> box (Seq.head bundle).Value

                host.GetType().GetMethod("Update", [| typeof<obj> |])
                |> Option.ofObj
                |> Option.iter (fun update -> update.Invoke(host, [| value |]) |> ignore)
        | sink -> sink.Update(id, bundle)

    /// Replaces what is shown by another value.
    member this.Update(value: obj) = this.UpdateBundle(Display.Bundle value)

/// What every cell can call without an open: this assembly asks F# to open it.
module Cells =
    /// Shows a value below the cell, in its richest forms; the handle's <c>Update</c> replaces it.
    let display (value: 'T) : DisplayHandle =
        DisplayHandle(Display.Bundle(box value))

    /// Shows text as a MIME type, for example <c>displayAs "**bold**" "text/markdown"</c>; other values are formatted as that type.
    let displayAs (value: 'T) (mimeType: string) : DisplayHandle =
        match box value with
        | :? string as text -> DisplayHandle(MimeBundle.single mimeType text)
        | value ->
            match (Display.Bundle value).TryGetValue mimeType with
            | true, text -> DisplayHandle(MimeBundle.single mimeType text)
            | _ -> DisplayHandle(MimeBundle.single mimeType (Formatter.ToDisplayString(value, mimeType)))

    /// HTML as a value: a cell that ends in it shows it.
    let HTML (html: string) = HtmlString html

[<assembly: AutoOpen("AttentionDistillation.Notebooks.Cells")>]
do ()
