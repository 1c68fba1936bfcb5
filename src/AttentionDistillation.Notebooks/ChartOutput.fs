namespace AttentionDistillation.Notebooks

open System
open System.Collections
open System.Globalization
open System.IO
open System.Security.Cryptography
open System.Text
open Newtonsoft.Json
open Plotly.NET

/// The plotly.js that Plotly.NET carries, for pages that must work offline.
module PlotlyScript =

    let private prefix, private ending = "Plotly.NET.plotly-", ".min.js"

    let private resource =
        lazy
            (typeof<GenericChart>.Assembly.GetManifestResourceNames()
             |> Array.tryFind (fun name ->
                 name.StartsWith(prefix, StringComparison.Ordinal)
                 && name.EndsWith(ending, StringComparison.Ordinal))
             |> Option.defaultWith (fun () ->
                 invalidOp
                     "Plotly.NET carries no plotly.js under the expected name. Use Plotly.NET 6.0.0, which this library was written for."))

    /// The version, for example 2.28.0.
    let version: Lazy<string> =
        lazy (resource.Value.Substring(prefix.Length, resource.Value.Length - prefix.Length - ending.Length))

    /// The whole script (about 3.5 MB of JavaScript). Put it into a page once, before the charts.
    let source: Lazy<string> =
        lazy
            (let stream =
                typeof<GenericChart>.Assembly.GetManifestResourceStream resource.Value
                |> nonNull

             use reader = new StreamReader(stream, Encoding.UTF8)
             reader.ReadToEnd())

    /// Where the same version can be loaded from online.
    let address: Lazy<string> =
        lazy $"https://cdn.plot.ly/plotly-{version.Value}.min.js"

/// Charts as what notebooks store: figure JSON and a small piece of HTML.
module ChartOutput =

    /// The MIME type under which notebook clients draw a figure themselves.
    [<Literal>]
    let PlotlyMime = "application/vnd.plotly.v1+json"

    // JSON has no NaN or infinity: a client that reads the notebook would fail. Plotly leaves null blank.
    type private FiniteNumbers() =
        inherit JsonConverter()
        override _.CanRead = false

        override _.CanConvert kind =
            kind = typeof<float> || kind = typeof<float32>

        override _.WriteJson(writer, value, _) =
            match value with
            | :? float as number when Double.IsFinite number ->
                writer.WriteRawValue(number.ToString("R", CultureInfo.InvariantCulture))
            | :? float32 as number when Single.IsFinite number ->
                writer.WriteRawValue(number.ToString("R", CultureInfo.InvariantCulture))
            | _ -> writer.WriteNull()

        override _.ReadJson(_, _, _, _) =
            raise (NotSupportedException "Figures are written only.")

    let private settings =
        JsonSerializerSettings(
            ReferenceLoopHandling = ReferenceLoopHandling.Serialize,
            // A token such as </script> inside a figure must not end the script element around it.
            StringEscapeHandling = StringEscapeHandling.EscapeHtml,
            Culture = CultureInfo.InvariantCulture,
            Converters = [| FiniteNumbers() |]
        )

    let private serialise (value: obj) =
        JsonConvert.SerializeObject(value, settings)

    /// The figure as JSON with data, layout and config; numbers that are not finite are null.
    let json (chart: GenericChart) : string =
        let data = GenericChart.getTraces chart |> Seq.map serialise

        let layout, config =
            serialise (GenericChart.getLayout chart), serialise (GenericChart.getConfig chart)

        let traces = String.Join(",", data)
        $"{{\"data\":[{traces}],\"layout\":{layout},\"config\":{config}}}"

    let private loader =
        lazy
            // AMD loaders (classic Jupyter) would swallow the script instead of letting it define window.Plotly, so their flag is put aside while it loads.
            ("window.__attentionPlotly=window.__attentionPlotly||(window.Plotly?Promise.resolve(window.Plotly):new Promise(function(ok,no){"
             + "var d=window.define,a=d&&d.amd,s=document.createElement('script');if(a){d.amd=undefined;}"
             + "s.src='"
             + PlotlyScript.address.Value
             + "';s.charset='utf-8';"
             + "s.onload=function(){if(a){d.amd=a;}ok(window.Plotly);};"
             + "s.onerror=function(){if(a){d.amd=a;}window.__attentionPlotly=undefined;no(new Error('plotly.js did not load'));};"
             + "document.head.appendChild(s);}));")

    let private layoutSize (name: string) fallback (chart: GenericChart) =
        match (GenericChart.getLayout chart).TryGetPropertyValue name with
        | Some(:? int as size) -> size
        | Some(:? float as size) -> int size
        | _ -> fallback

    /// A div and a script that draw the chart in any notebook client or page. plotly.js is taken from the page where it is present, and otherwise loaded
    /// once from its public address; it is never embedded. The same chart gives the same text.
    let html (chart: GenericChart) : string =
        let figure = json chart

        let mark =
            Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes figure)).Substring(0, 16).ToLowerInvariant()

        let width, height = layoutSize "width" 700 chart, layoutSize "height" 450 chart

        String.concat "" [
            $"<div data-attention-chart=\"{mark}\" style=\"width:{width}px;height:{height}px\"></div>"
            "<script type=\"text/javascript\">(function(){"
            loader.Value
            $"var f={figure};"
            "window.__attentionPlotly.then(function(P){"
            $"document.querySelectorAll('[data-attention-chart=\"{mark}\"]').forEach(function(e){{if(!e.dataset.drawn){{e.dataset.drawn='1';P.newPlot(e,f.data,f.layout,f.config);}}}});"
            "}).catch(function(x){"
            $"document.querySelectorAll('[data-attention-chart=\"{mark}\"]').forEach(function(e){{e.textContent='This chart needs plotly.js, which could not be loaded: '+x.message;}});"
            "});})();</script>"
        ]

    /// One line of text for clients without pictures.
    let plain (chart: GenericChart) : string =
        let kinds =
            GenericChart.getTraces chart
            |> List.countBy _.``type``
            |> List.map (fun (kind, count) -> if count = 1 then kind else $"{count} {kind}")

        let title =
            match (GenericChart.getLayout chart).TryGetPropertyValue "title" with
            | Some(:? IDictionary as title) when title.Contains "text" -> string title["text"]
            | Some(:? Title as title) ->
                match title.TryGetPropertyValue "text" with
                | Some text -> string text
                | None -> ""
            | _ -> ""

        let first =
            (title.Split("<br>")[0]).Replace("&lt;", "<").Replace("&gt;", ">").Replace("&amp;", "&")

        let parts = String.Join(", ", kinds)
        if first = "" then $"Chart ({parts})" else $"Chart: {first} ({parts})"
