// Built by make bundle from moereg/viz/js; sources b68dc42ba3f1370ed56e7dbae61f468f41f9040f589d8f5268d434ee551f462d, lines below 44f86effe824ec576077b4257528b300fcd4cc389bb9e1bdd6d82af2c86bae83
/*
htm 3.1.1, Apache License 2.0

preact 11.2.0
The MIT License (MIT)

Copyright (c) 2015-present Jason Miller

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
*/
var moeregView=(()=>{var dt=Object.defineProperty;var Pn=Object.getOwnPropertyDescriptor;var An=Object.getOwnPropertyNames;var Tn=Object.prototype.hasOwnProperty;var En=(e,t)=>{for(var o in t)dt(e,o,{get:t[o],enumerable:!0})},Cn=(e,t,o,n)=>{if(t&&typeof t=="object"||typeof t=="func\
tion")for(let r of An(t))!Tn.call(e,r)&&r!==o&&dt(e,r,{get:()=>t[r],enumerable:!(n=Pn(t,r))||n.enumerable});return e};var Ln=e=>Cn(dt({},"__esModule",{value:!0}),e);var ss={};En(ss,{attentionAt:()=>se,contributionsAt:()=>q,createExplorer:()=>Ee,createSteps:()=>ye,decisionAt:()=>E,decode:()=>vt,
default:()=>rs,displacementAt:()=>B,interpolate:()=>fe,layerVoxel:()=>J,mount:()=>Kt,mountAll:()=>Sn,openPayload:()=>Z,render:()=>ht,
signed:()=>A,warpedAt:()=>re});var y=(e,t,o)=>Math.min(Math.max(e,t),o),Le=(e,t)=>e===t||JSON.stringify(e)===JSON.stringify(t),w=e=>e.reduce((t,o)=>t+o,
0),A=(e,t=2)=>{let o=Math.abs(e).toFixed(t);return(Number(o)===0?"\u2007":e<0?"\u2212":"+")+o},Ne=e=>A(e).trim(),L=(e,t=2)=>(e<
0?"\u2212":"")+Math.abs(e).toFixed(t),me=e=>`${Math.round(e*100)}\u2009%`,Oe=e=>["1st","2nd","3rd"][e]??`${e+1}th`,Jt=(e,t)=>e.
reduce((o,n,r)=>Math.abs(n-t)<Math.abs(e[o]-t)?r:o,0);var Nn=50;function gt(e,{current:t,apply:o}){let n=Object.keys(t()),[r,s,i]=[t(),null,!1],c=()=>{clearTimeout(s),[s,i]=[
null,!0];let u=t();for(let a of n)Le(r[a],u[a])||e.set(a,u[a]);r=u,e.save_changes(),i=!1},l=()=>{i||(s!==null&&c(),i=!0,
o(u=>e.get(u)),r=t(),i=!1)};for(let u of n)e.on(`change:${u}`,l);return{changed(){i||(s??=setTimeout(c,Nn))},stop(){clearTimeout(
s);for(let u of n)e.off(`change:${u}`,l)}}}async function Z(e){let t=typeof e.data=="string"?On(e.data):e.data,o=new Blob([t]).stream().pipeThrough(new DecompressionStream(
"gzip")),n=new Uint8Array(await new Response(o).arrayBuffer()),r=new Map;return{...e,read:i=>(r.has(i.offset)||r.set(i.offset,
vt(n,i)),r.get(i.offset))}}var On=e=>Uint8Array.from(atob(e),t=>t.charCodeAt(0));function xt(e){let{data:t}=e;return t instanceof
DataView?{...e,data:new Uint8Array(t.buffer,t.byteOffset,t.byteLength)}:e}function vt(e,{offset:t,shape:o,bits:n,axes:r,
zero:s,precision:i}){let c=o.reduce((a,f)=>a*f,1),l=n===8?e.slice(t,t+c):new Uint16Array(c);if(n===16)for(let a=0;a<c;a++)
l[a]=e[t+a]+(e[t+c+a]<<8);for(let a=1,f=1;a<=r;a++){let $=o[o.length-a];for(let p=0;p<c;p++)Math.floor(p/f)%$&&(l[p]+=l[p-
f]);f*=$}let u=new Float32Array(c);for(let a=0;a<c;a++)u[a]=s+l[a]*i;return{shape:o,values:u}}function P(e,...t){let o=0;
for(let n=0;n<t.length;n++)o=o*e.shape[n]+t[n];return e.values[o]}function fe(e,t,o=[]){let n=e.shape.slice(o.length),r=0;
for(let c=0;c<o.length;c++)r=r*e.shape[c]+o[c];let s=[[r,1]];for(let c=0;c<n.length;c++){let l=y(t[c],0,n[c]-1),u=Math.floor(
l),a=l-u,f=[];for(let[$,p]of s)f.push([$*n[c]+u,p*(1-a)]),a>0&&f.push([$*n[c]+u+1,p*a]);s=f}let i=0;for(let[c,l]of s)i+=
e.values[c]*l;return i}function Xt(e,t){return P(e,...e.shape.map((o,n)=>y(Math.round(t[n]),0,o-1)))}function Qt(e,t){return e.
reduce((o,n,r)=>o.flatMap(s=>Array.from({length:t[r]-n},(i,c)=>[...s,n+c])),[[]])}function Zt(e){return{voxel:e.start??e.shape.map(t=>t>>1),hover:null,plane:e.plane??0,layer:0,track:0,expert:0,image:"wa\
rped",show:"first",field:"result",grid:!1,arrows:!1,labels:!!e.labels,kernels:!0,live:!1,busy:!1,k:{},without:{},temperature:1}}
var Fe=e=>e.hover??e.voxel,eo=["voxel","image","show","field","k","without","temperature"];function to(e,t){let o=e.layers[t.
layer];return{...Object.fromEntries(eo.map(n=>[n,t[n]])),plane:e.axes.length===3?e.axes[t.plane]:"",layer:o?.name??"",direction:o?.
tracks[t.track]??"",expert:o?.experts[t.expert]??""}}function kt(e,t){let o=(i,c)=>Math.max(0,i.indexOf(c)),n=o(e.layers.
map(({name:i})=>i),t("layer")),{tracks:r,experts:s}=e.layers[n]??{tracks:[],experts:[]};return{...Object.fromEntries(eo.
map(i=>[i,t(i)])),plane:o(e.axes,t("plane")),layer:n,track:o(r,t("direction")),expert:o(s,t("expert"))}}function Re(e){let t=new Set;return{get state(){return e},set(o){let n=Object.entries(o).filter(([s,i])=>!Le(e[s],i));if(!n.
length)return;e={...e,...Object.fromEntries(n)};let r=new Set(n.map(([s])=>s));for(let s of[...t])s(e,r)},subscribe(o){return t.
add(o),()=>t.delete(o)}}}var no=function(e,t,o,n){var r;t[0]=0;for(var s=1;s<t.length;s++){var i=t[s++],c=t[s]?(t[0]|=i?1:2,o[t[s++]]):t[++s];i===
3?n[0]=c:i===4?n[1]=Object.assign(n[1]||{},c):i===5?(n[1]=n[1]||{})[t[++s]]=c:i===6?n[1][t[++s]]+=c+"":i?(r=e.apply(c,no(
e,c,o,["",null])),n.push(r),c[0]?t[0]|=2:(t[s-2]=0,t[s]=r)):n.push(c)}return n},oo=new Map;function ro(e){var t=oo.get(this);
return t||(t=new Map,oo.set(this,t)),(t=no(this,t.get(e)||(t.set(e,t=(function(o){for(var n,r,s=1,i="",c="",l=[0],u=function($){
s===1&&($||(i=i.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?l.push(0,$,i):s===3&&($||i)?(l.push(3,$,i),s=2):s===2&&i==="..."&&$?
l.push(4,$,0):s===2&&i&&!$?l.push(5,0,!0,i):s>=5&&((i||!$&&s===5)&&(l.push(s,0,i,r),s=6),$&&(l.push(s,$,0,r),s=6)),i=""},
a=0;a<o.length;a++){a&&(s===1&&u(),u(a));for(var f=0;f<o[a].length;f++)n=o[a][f],s===1?n==="<"?(u(),l=[l],s=3):i+=n:s===
4?i==="--"&&n===">"?(s=1,i=""):i=n+i[0]:c?n===c?c="":i+=n:n==='"'||n==="'"?c=n:n===">"?(u(),s=1):s&&(n==="="?(s=5,r=i,i=
""):n==="/"&&(s<5||o[a][f+1]===">")?(u(),s===3&&(l=l[0]),s=l,(l=l[0]).push(2,0,s),s=0):n===" "||n==="	"||n===`
`||n==="\r"?(u(),s=2):i+=n),s===3&&i==="!--"&&(s=4,l=l[0])}return u(),l})(e)),t),arguments,[])).length>1?t:t[0]}var k,co,Fn,U,bt,He,ao,Ie,lo,wt,yt,Rn,_e=Symbol.for("pv"),We={},Be=[],Dn=/^m(i|n|o|s|text|space)$/,Mt=Array.isArray,St=Be.
slice,G=Object.assign;function K(e){e&&e.parentNode&&e.remove()}function uo(e,t,o){var n,r,s,i={},c=arguments.length;for(s in t)
s=="key"?n=t[s]:s=="ref"&&typeof e!="function"?r=t[s]:i[s]=t[s];return c>2&&(i.children=c>3?St.call(arguments,2):o),$e(e,
i,n,r,null)}function $e(e,t,o,n,r){var s={type:e,props:t,key:o,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:_e,__v:r||
++co,__i:-1,__u:0};return!r&&k.vnode&&k.vnode(s),s}function qe(e){return e.children}function je(e,t){this.props=e,this.context=t,this.__g=0}function H(e,t){if(t==null)return e.
__&&H(e.__,e.__i+1);for(var o;t<e.__k.length;t++)if((o=e.__k[t])&&o.__e)return o.__e;return typeof e.type!="function"||e.
props.__P?null:H(e)}function In(e){var t,o=e.__v,n=o.__e,r=[],s=[],i=e.__P;i&&((t=G({constructor:_e},o)).__v=o.__v+1,k.vnode&&
k.vnode(t),Pt(i,t,o,e.__n,i.namespaceURI,32&o.__u?[n]:null,r,n||H(o),32&o.__u,s),t.__v=o.__v,t.__.__k[t.__i]=t,ho(r,t,s),
o.__=o.__e=null,t.__e!=n&&po(t))}function po(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){
return t&&(e.__e=t.__e)}),po(e)}function so(e){(8&e.__g||(e.__g|=8,U.push(e),He++))&&bt==k.debounceRendering||((bt=k.debounceRendering)||
queueMicrotask)(mo)}function mo(){try{for(var e,t=1;U.length;)U.length>t&&U.sort(ao),e=U.shift(),t=U.length,8&e.__g&&In(
e)}finally{(He=U.length)&&(bt||queueMicrotask)(mo)}}function fo(e,t,o,n,r,s,i,c,l,u,a){var f,$,p,_,d,h,x=n.__k||Be,g=t.length;
for(l=jn(o,t,x,l,g),f=0;f<g;f++)(p=o.__k[f])!=null&&($=~p.__i&&x[p.__i]||We,p.__i=f,h=Pt(e,p,$,r,s,i,c,l,u,a),_=p.__e,($.
ref!=p.ref||8&$.__u)&&($.ref&&At($.ref,null,p,$),p.ref&&a.push(p.ref,p.__c||_,p)),d=d||_,4&p.__u?(l=$o(p,l,e,!$.__v),$.__e&&
($.__e=null)):typeof p.type=="function"&&h!==void 0?l=h:_&&(l=_.nextSibling),p.__u&=-21);return o.__e=d,l}function jn(e,t,o,n,r){
var s,i,c,l,u,a,f,$,p,_=o.length,d=_,h=0,x=0,g=e.__k=Array(r);for(s=0;s<r;s++)(i=t[s])!=null&&typeof i!="boolean"&&typeof i!=
"function"?(typeof i!="object"||i.constructor===String?i=g[s]=$e(null,i):Mt(i)?i=g[s]=$e(qe,{children:i}):i.constructor===
_e&&i.__b?i=g[s]=$e(i.type,i.props,i.key,i.ref,i.__v):g[s]=i,l=s+h,i.__=e,i.__b=e.__b+1,c=null,~(u=i.__i=Un(i,o,l,d))&&(d--,
(c=o[u])&&(c.__u|=2)),c&&c.__v?(i.__u|=16,u==l-1?h--:u==l+1?h++:u!=l&&(u>l?h--:h++,x=1)):(~u||(r>_?h--:r<_&&h++),typeof i.
type!="function"&&(i.__u|=4))):g[s]=null;if(x){for(a=[],f=[],s=0;s<r;s++)if((i=g[s])&&16&i.__u){for(h=0,$=a.length;h<$;)
a[p=h+$>>1]<i.__i?h=p+1:$=p;a[h]=i.__i,f[s]=h+1}for(h=a.length;s--;)f[s]&&(f[s]==h?h--:g[s].__u|=4)}if(d)for(s=0;s<_;s++)
!(c=o[s])||2&c.__u||(c.__e==n&&(n=H(c)),Tt(c,c));return n}function $o(e,t,o,n){var r,s,i,c;if(typeof e.type=="function"){
if(e.props.__P)return t;if(r=e.__k)for(s=0;s<r.length;s++)r[s]&&(r[s].__=e,t=$o(r[s],t,o,!1));return t}for(t&&!t.parentNode&&
(t=H(e))&&!t.parentNode&&(t=null),i=e.__e,c=t;c&&c.nodeType==8;)c=c.nextSibling;for(i!=c&&(!n&&o.moveBefore&&i.parentNode?
o.moveBefore(i,t):o.insertBefore(i,t||null)),t=i;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function Un(e,t,o,n){var r,s=e.key,i=e.type,c=t[o],l=c&&!(2&c.__u);if(c===null&&s==null||l&&s==c.key&&i==c.type)return o;
if(n>(l?1:0)){for(r=o-1;r>=0;r--)if((c=t[r])&&!(2&c.__u)&&s==c.key&&i==c.type)return r;for(r=o+1;r<t.length;r++)if((c=t[r])&&
!(2&c.__u)&&s==c.key&&i==c.type)return r}return-1}function io(e,t,o){o==null&&(o=""),t[0]=="-"?e.setProperty(t,o):e[t]=o}
function De(e,t,o,n,r){var s,i;if(t=="style")if(typeof o=="string")e.style.cssText=o;else{if(typeof n=="string"&&(e.style.
cssText=n=""),n)for(t in n)o&&t in o||io(e.style,t);if(o)for(t in o)n&&o[t]==n[t]||io(e.style,t,o[t])}else if(t[0]=="o"&&
t[1]=="n")typeof o!="function"&&(o=null),typeof n!="function"&&(n=null),(e.__e||(e.__e={}))[t]=o,o&&n||(i=yt[t]||(yt[t]=
Hn(t)),(e.__a||(e.__a={}))[t]=wt,s=t!=(t=t.replace(lo,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),o?e.addEventListener(
t,i,s):e.removeEventListener(t,i,s));else{if(r=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,
"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="c\
olSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=o??"")}catch{}if(typeof o=="function")return;o==null||o===
!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&o==1?"":o)}}function Hn(e){return function(t){var o=this.
__e;if(o){if(o=o[e],t[Ie]==null)t[Ie]=wt++;else if(t[Ie]<this.__a[e])return;return o(k.event?k.event(t):t)}}}function Pt(e,t,o,n,r,s,i,c,l,u){
var a,f,$,p,_,d,h,x,g,v,b,pe,Gt,Ce,V,Yt,j,z,F=t.type;if(t.constructor!==_e)return null;128&o.__u&&(l=32&o.__u,a=o.__c.__z)&&
(t.__u|=l,f=s=[],a.nodeType==8?c=Ue(a,s):s.push(a),c=s[0]||c),(a=k.__b)&&a(t);e:if(typeof F=="function"){$=i.length;try{
if(x=t.props,g=(a=F.prototype)&&a.render,v=(a=F.contextType)&&n[a.__c],b=a?v?v.props.value:a.__:n,(p=o.__c)?(t.__c=p,2&p.
__g&&(p.__g|=1)):(g?t.__c=p=new F(x,b):(t.__c=p=new je(x,b),p.constructor=F,p.render=Bn),v&&v.sub(p),p.state||(p.state={}),
p.__n=n,p.__g|=8,p.__h=[],p.__k=[]),g&&(p.__s||(p.__s=p.state),F.getDerivedStateFromProps&&(p.__s==p.state&&(p.__s=G({},
p.__s)),G(p.__s,F.getDerivedStateFromProps(x,p.__s)))),_=p.props,d=p.state,p.__v=t,o.__c){if(x!==_&&g&&!F.getDerivedStateFromProps&&
p.componentWillReceiveProps&&p.componentWillReceiveProps(x,b),t.__v==o.__v&&!(8&p.__g)||!(4&p.__g)&&p.shouldComponentUpdate&&
p.shouldComponentUpdate(x,p.__s,b)===!1){t.__v!=o.__v&&(p.props=x,p.state=p.__s,p.__g&=-9),t.__e=o.__e,t.__k=o.__k,t.__k.
some(function(C){C&&(C.__=t)}),Be.push.apply(p.__h,p.__k),p.__k=[],p.__h.length&&i.push(p),c=H(o);break e}p.componentWillUpdate&&
p.componentWillUpdate(x,p.__s,b),g&&p.componentDidUpdate&&p.__h.push(function(){p.componentDidUpdate(_,d,h)})}else g&&!F.
getDerivedStateFromProps&&p.componentWillMount&&p.componentWillMount(),g&&p.componentDidMount&&p.__h.push(p.componentDidMount);
p.context=b,p.props=x,p.__P=e,p.__g&=-5,pe=k.__r,Gt=g?25:0;do p.__g&=-9,pe&&pe(t),a=p.render(p.props,p.state=p.__s,p.context);while(8&
p.__g&&++Gt<25);g&&(Be.push.apply(p.__h,p.__k),p.__k=[]),p.state=p.__s,p.getChildContext&&(n=G({},n,p.getChildContext())),
g&&o.__c&&p.getSnapshotBeforeUpdate&&(h=p.getSnapshotBeforeUpdate(_,d)),Ce=a&&a.type===qe&&a.key==null?a.props.children:
a,x.__P&&(a=c,r=(e=x.__P).namespaceURI,l=s=null,o.props&&o.props.__P!=e&&(o.__k.some(function(C){C&&Tt(C,C)}),o.__k=null),
c=o.__k?H(o,0):null),c=fo(e,Mt(Ce)?Ce:[Ce],t,o,n,r,s,i,c,l,u),x.__P&&(t.__e=null,c=a),t.__u&=-161,f&&f.some(K),p.__h.length&&
i.push(p),1&p.__g&&(p.__g&=-4)}catch(C){if(i.length=$,t.__v=null,l||s)if(C&&C.then){if(t.__u|=128|l,s){for(~(j=s.indexOf(
c||void 0))||(j=s.length);(z=s[j-1])&&z.nodeType==8;)j--;for(;j<s.length;j++)if(z=s[j])if(s[j]=null,V){if(z==Yt)break}else{
if(z.nodeType!=8)break;z.data.startsWith("$s")&&(Yt=Ue(V=z))}}if(!V){for(;c&&c.nodeType==8&&c.nextSibling;)c=c.nextSibling;
V=c}(a=Ue(V=t.__c.__z||(t.__c.__z=V)))?(t.__e=V,c=a):t.__e=c,c=c&&c.nextSibling}else s&&s.some(K);else t.__e=o.__e;t.__k||
(t.__k=o.__k||[]),C&&C.then||_o(t),k.__e(C,t,o)}}else c=t.__e=Wn(o.__e,t,o,n,r,s,i,l,u,e);return(a=k.diffed)&&a(t),c}function Ue(e,t){
if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var o=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))
o++;else if(e.data.startsWith("/$s")&&!--o)return e}t&&t.push(e)}}function _o(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.
some(_o))}function ho(e,t,o){for(var n=0;n<o.length;)At(o[n++],o[n++],o[n++]);k.__c&&k.__c(t,e),e.some(function(r){try{e=
r.__h,r.__h=[],e.some(function(s){s.call(r)})}catch(s){k.__e(s,r.__v)}})}function Wn(e,t,o,n,r,s,i,c,l,u){var a,f,$,p,_,
d,h,x,g=o.props||We,v=t.props,b=t.type;if(b=="svg"?r="http://www.w3.org/2000/svg":b=="math"?r="http://www.w3.org/1998/Ma\
th/MathML":r||(r="http://www.w3.org/1999/xhtml"),s){for(a=0;a<s.length;a++)if((_=s[a])&&(b?_.localName==b:_.nodeType==3)){
e=_,s[a]=null;break}}if(!e){if(x=u.ownerDocument||document,!b)return x.createTextNode(v);e=x.createElementNS(r,b,v.is?v:
u),c&&(k.__m&&k.__m(t,s),c=!1),s=null}if(b){if(u=b=="template"&&e.content||e,s=b=="textarea"&&v.defaultValue!=null?null:
s&&St.call(u.childNodes),!c&&s)for(g={},a=0;a<e.attributes.length;a++)g[(_=e.attributes[a]).name]=_.value;for(a in g)_=g[a],
a=="dangerouslySetInnerHTML"?$=_:a=="children"||a in v||a=="value"&&"defaultValue"in v||a=="checked"&&"defaultChecked"in
v||De(e,a,null,_,r);for(a in v)_=v[a],a=="children"?p=_:a=="dangerouslySetInnerHTML"?f=_:a=="value"?d=_:a=="checked"?h=_:
c&&typeof _!="function"||g[a]===_||De(e,a,_,g[a],r);f?(c||$&&(f.__html==$.__html||f.__html==e.textContent)||(e.textContent=
f.__html),t.__k=[]):($&&(e.textContent=""),(b=="foreignObject"||r=="http://www.w3.org/1998/Math/MathML"&&Dn.test(b))&&(r=
"http://www.w3.org/1999/xhtml"),fo(u,Mt(p)?p:[p],t,o,n,r,s,i,s?s[0]:o.__k&&H(o,0),c,l),s&&s.some(K)),c&&b!="textarea"||(a=
"value",b=="progress"&&d==null?e.removeAttribute(a):d==null||d===e[a]&&(b!="progress"||d)||De(e,a,d,g[a],r),a="checked",
h!=null&&h!=e[a]&&De(e,a,h,g[a],r))}else g===v||c&&e.data==v||(e.data=v);return e}function At(e,t,o,n){try{typeof e=="fu\
nction"?t?t.__x=e(t)||1:n&&(n=n.__c||n.__e)&&(t=n.__x)&&(n.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(r){
k.__e(r,o)}}function Tt(e,t,o){var n,r,s,i;if(k.unmount&&k.unmount(e),!(n=e.ref)||n.current&&n.current!=e.__e||At(n,null,
t,e),n=e.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(c){k.__e(c,t)}n.__P=n.__n=null}if(n=e.__k)for(i=
0;i<n.length;i++)n[i]&&Tt(n[i],t,typeof e.type!="function"||o&&!e.props.__P);!o&&(n=e.__c)&&(n=n.__z)&&(r=Ue(n,s=[]))&&(n==
e.__e&&s.some(K),K(r),K(n)),o||K(e.__e),e.__e=e.__c=e.__=null}function Bn(e,t,o){return this.constructor(e,o)}function Ve(e,t){
var o,n,r,s;k.__&&k.__(e,t),t.nodeType==9&&(t=t.documentElement),n=(o=e&&32&e.__u)?null:t.__k,t.__k=$e(qe,{children:[e]}),
r=[],s=[],Pt(t,t.__k,n||We,We,t.namespaceURI,n?null:t.firstChild?St.call(t.childNodes):null,r,n?n.__e:t.firstChild,o,s),
ho(r,t.__k,s),t.__k.props.children=null}k={__e:function(e,t,o,n){for(var r,s,i;t=t.__;)if((r=t.__c)&&!(1&r.__g)){r.__g|=4;try{if((i=(s=r.constructor)&&s.getDerivedStateFromError)&&
r.setState(s.getDerivedStateFromError(e)),r.componentDidCatch&&(r.componentDidCatch(e,n||{}),i=1),i&&8&r.__g)return void(r.
__g|=2)}catch(c){e=c}}throw He=0,e}},co=0,Fn=function(e){return e!=null&&e.constructor===_e},je.prototype.setState=function(e,t){
var o=this.__s;o&&o!=this.state||(o=this.__s=G({},this.state)),typeof e=="function"&&(e=e(G({},o),this.props)),e&&(G(o,e),
this.__v&&(t&&this.__k.push(t),so(this)))},je.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(
e),so(this))},je.prototype.render=qe,U=[],He=0,ao=function(e,t){return e.__v.__b-t.__v.__b},Ie=Symbol(),lo=/(PointerCapture)$|Capture$/i,
wt=0,yt={},Rn=0;var de,S,Et,go,Ct=Object.is,ge=0,Po=[],Lt=[],M=k,xo=M.__b,vo=M.__r,ko=M.diffed,bo=M.__c,yo=M.unmount,wo=M.__;function Ot(e,t){
M.__h&&M.__h(S,e,ge||t),ge=0;var o=S.__H||(S.__H={__:[],__h:[]});return e>=o.__.length&&o.__.push({}),o.__[e]}function ee(e){
return ge=1,qn(To,e)}function qn(e,t,o){var n=Ot(de++,2);if(n.t=e,!n.__c&&(n.__=[o?o(t):To(void 0,t),function(s){var i=(n.
__N||n.__)[0],c=n.t(i,s);Ct(i,c)||(n.__N=[c,n.__[1]],n.__c.setState({}))}],n.__c=S,!S.__f)){S.__f=!0;var r=S.shouldComponentUpdate;
S.shouldComponentUpdate=function(s,i,c){var l=this.__H;if(!l)return!0;var u=!1,a=this.props!=s;if(l.__.some(function($){
$.__N&&(u=!0,Ct($.__[0],$.__N[0])||(a=!0))}),r){var f=r.call(this,s,i,c);return u?f||a:f}return!u||a}}return n.__}function W(e,t){var o=Ot(de++,4);!M.__s&&Ao(o.__H,t)&&(o.__P=!1,o.__=e,o.u=t,S.__h.push(o))}function Ft(e){return ge=5,R(
function(){return{current:e}},[])}function R(e,t){var o=Ot(de++,7);return Ao(o.__H,t)&&(o.__=e(),o.__H=t),o.__}function Y(e,t){return ge=8,R(function(){return e},
t)}function Vn(){var e;do{for(;e=Lt.shift();)try{he(e)}catch(o){M.__e(o,{__:(e=e.__P)&&e.__v})}for(;e=Po.shift();){var t=e.
__H;if(e.__P&&t)try{t.__h.some(he),t.__h.some(Nt),t.__h=[]}catch(o){t.__h=[],M.__e(o,e.__v)}}}while(Lt.length)}M.__b=function(e){
S=null,xo&&xo(e)},M.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),wo&&wo(e,t)},M.__r=function(e){vo&&vo(e),de=
0;var t=(S=e.__c).__H;t&&(Et==S?S.__h=[]:(t.__h.some(he),t.__h.some(Nt),de=0),t.__h=[],t.__.some(function(o){o.__N&&(o.__=
o.__N),o.u=o.__N=void 0})),Et=S},M.diffed=function(e){ko&&ko(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&So(Po.push(t)),
t.__H.__.some(function(o){o.u&&(o.__H=o.u)})),Et=S=null},M.__c=function(e,t){t.some(function(o){try{o.__h.some(he),o.__h=
o.__h.filter(function(n){return!n.__||Nt(n)})}catch(n){o.__h=[function(){throw n}]}}),bo&&bo(e,t)},M.unmount=function(e){
yo&&yo(e);var t,o,n=e.__c;n&&n.__H&&(n.__H.__.some(function(r){try{if(r.__P&&r.__c){if(o===void 0){for(o=e.__;o&&(!o.__c||
!o.__c.__P);)o=o.__;o=o&&o.__c}r.__P=o,So(Lt.push(r))}else he(r)}catch(s){t=s}}),n.__H=void 0,t&&M.__e(t,n.__v))};var Mo=typeof requestAnimationFrame==
"function";function zn(e){var t,o=function(){clearTimeout(n),Mo&&cancelAnimationFrame(t),setTimeout(e)},n=setTimeout(o,35);
Mo&&(t=requestAnimationFrame(o))}function So(e){e!=1&&go==M.requestAnimationFrame||((go=M.requestAnimationFrame)||zn)(Vn)}
function he(e){var t=S,o=e.__c;typeof o=="function"&&(e.__c=void 0,o()),S=t}function Nt(e){var t=S;e.__c=e.__(),S=t}function Ao(e,t){
return!e||e.length!=t.length||t.some(function(o,n){return!Ct(o,e[n])})}function To(e,t){return typeof t=="function"?t(e):
t}function Kn(e,t,o){return e==="dark"||e==="light"?e:(t?t==="false":o)?"dark":"light"}var Eo=()=>matchMedia("(prefers-col\
or-scheme: dark)"),Rt=()=>Kn(document.documentElement.dataset.theme,document.body.dataset.jpThemeLight,Eo().matches);function Co(e){
let[t,o]=[Eo(),()=>e(Rt())];t.addEventListener("change",o);let n=new MutationObserver(o);for(let r of[document.documentElement,
document.body])n.observe(r,{attributes:!0,attributeFilter:["data-theme","data-jp-theme-light"]});return()=>{t.removeEventListener(
"change",o),n.disconnect()}}var m=ro.bind(uo);function ze(e,t){if(t.moeregShown)return Ve(e,t);let o=[...t.childNodes];t.replaceChildren();try{Ve(e,
t),t.moeregShown=!0}catch(n){throw t.replaceChildren(...o),n}}function Ke(e){Ve(null,e),e.moeregShown=!1}var xe=(e,t)=>o=>R(
()=>m`<${t} ...${o} />`,[o.data,...e.map(n=>o.state[n])]),Gn=0,te=e=>R(()=>`${e}-${++Gn}`,[]);function Ge(){let[e,t]=ee(
Rt);return W(()=>Co(t),[]),e}var oe=(e,t,o)=>(y(e,t,o)-t)/(o-t)*100;function Ye(e,t,o){let[n,r]=[oe(Math.min(0,e),t,o),oe(Math.max(0,e),t,o)];return{
left:`${n}%`,width:`${r-n}%`}}function Lo(e){let[t,o]=[0,0],n=[];return e.forEach((r,s)=>{if(!r)return;let i=r<0?t+=r:o;
r>0&&(o+=r),n.push({e:s,start:i,value:r})}),n}function No(e,t,[o,n]){let r=(i,c)=>`${(c/(e.length-1)*o).toFixed(1)} ${(n-
i*n).toFixed(1)}`,s=e.map(()=>0);return Array.from({length:t},(i,c)=>{let l=e.map((f,$)=>s[$]+(f[c]??0)),[u,a]=[l.map(r),
s.map(r).reverse()];return s=l,`M${[...u,...a].join("L")}Z`})}var ne=e=>[1,3,5].map(t=>parseInt(e.slice(t,t+2),16)),Je=(e,t,o)=>e.map((n,r)=>n+(t[r]-n)*o),Yn=e=>w(e.map(t=>t/255<=.04045?
t/255/12.92:((t/255+.055)/1.055)**2.4).map((t,o)=>t*[.2126,.7152,.0722][o])),ve=e=>Yn(ne(e))>.22,Xe=e=>`rgb(${e.map(Math.
round).join(" ")})`,Oo=e=>ve(e)?[16,18,22]:[244,241,234],Qe=["#16161d","#5b4a78","#c98b7d","#f6ecd4"].map(ne),Ze=["#2a6f\
d1","#101216","#e8853a"].map(ne);function ke(e,t){let o=y(t,0,1)*(e.length-1),n=Math.min(Math.floor(o),e.length-2);return Je(
e[n],e[n+1],o-n)}function B(e,t,o){if(t==="none")return o.map(()=>0);let n=e.read(e.displacement),r=Jn(e,t);return o.map((s,i)=>{let c=P(
n,i,...o);if(!r)return c;let l=o.map(u=>u/r.every);return c+fe(e.read(r.values),l,[i])})}function Jn(e,t){let[o,n]=t.split(
":");return o==="knockout"?e.knockouts[n].field:o==="snapshot"?e.snapshots[n].field:o==="step"?e.steps[n]:null}var et=(e,t)=>t.
startsWith("snapshot:")?e.snapshots[t.slice(9)]:null,Fo=(e,t,o)=>{let n=B(e,t,o);return o.map((r,s)=>r+n[s])},re=(e,t,o)=>fe(
e.read(e.images.moving),Fo(e,t,o));function tt(e,t,o,n){return e.labels?t==="fixed"?P(e.read(e.labels.fixed),...n):t==="\
moving"?P(e.read(e.labels.moving),...n):Xt(e.read(e.labels.moving),Fo(e,o,n)):0}var Ro=(e,t)=>t?e.label_names[String(t)]??
`label ${t}`:"";function be(e,t){let[o,n]=t.split(":");if(o==="none")return"no displacement";if(o==="knockout"){let{layer:r,
expert:s}=e.knockouts[n];return`without ${e.layers.find(({name:i})=>i===r).experts[s]} in ${r}`}return o==="snapshot"?`t\
raining step ${e.snapshots[n].step}`:o==="step"?`field after step ${Number(n)+1}`:"result"}function J(e,t,o=e.every){return t.map((n,r)=>{let s=Math.ceil(e.grid[r]/o);return y(Math.floor(n/(e.stride[r]*o)+.5),0,
s-1)})}function Do(e){let t=Math.max(...e),o=e.map(r=>Math.exp(r-t)),n=w(o);return o.map(r=>r/n)}function E(e,t,o,n){let r=J(
t,n),s=t.experts.map((a,f)=>P(e.read(t.logits),o,f,...r)),i=Do(s.map((a,f)=>t.left_out.includes(f)?-1/0:a)),c=Array.from(
{length:t.k},(a,f)=>P(e.read(t.indices),o,f,...r)),l=t.experts.map(()=>0);c.forEach((a,f)=>l[a]=P(e.read(t.gates),o,f,...r));
let u=-w(i.map(a=>a>0?a*Math.log(a):0));return{place:r,logits:s,probabilities:i,chosen:c,gates:l,entropy:u}}function q(e,t,o){
if(!t.proposals)return null;let n=J(t,o),r=e.read(t.proposals);return e.axes.map((s,i)=>{let{gates:c}=E(e,t,Io(e,t)?i:0,
o);return c.map((l,u)=>l?l*P(r,i,u,...n):0)})}var Io=(e,t)=>t.tracks.length===e.axes.length,ot=(e,t,o,n)=>n&&Io(e,t)?n[o]:
null;function se(e,t,o,n){if(!t.attention||t.every!==1)return[];let{window:r}=t.attention,{place:s,chosen:i,gates:c}=E(e,
t,o,n),l=e.read(t.attention.keys),u=e.read(t.attention.queries),a=l.shape[1],f=s.map((_,d)=>Math.floor(_/r[d])*r[d]),$=f.
map((_,d)=>Math.min(_+r[d],t.grid[d])),p=Qt(f,$);return i.map((_,d)=>{let h=Array.from({length:a},(g,v)=>P(u,o,d,v,...s)),
x=g=>w(h.map((v,b)=>v*P(l,o,b,...g)))/Math.sqrt(a);return{expert:_,gate:c[_],low:f,high:$,tokens:p,weights:Do(p.map(x))}})}
var Dt=e=>e.proposals?"Direction":"Token of",D=(e,t)=>`${Dt(e).toLowerCase()} ${e.tracks[t]}`;function nt(e,t,o){let{tracks:n,
experts:r}=e.layers[o];return{layer:o,track:Math.min(t.track,n.length-1),expert:Math.min(t.expert,r.length-1)}}var rt=e=>!!e.
kernels[0];var It=(e,t,o)=>Ro(e,tt(e,"fixed",t.field,o));function jo(e,t,o,n,r){let s=o.map(($,p)=>`${e.axes[p]} ${$}`).join(", "),
i=It(e,t,o),c=`Voxel ${s}${i?`, ${i}`:""}`;if(!r)return`${c}, displacement ${n.map(Ne).join(", ")} voxels.`;let l=e.layers[t.
layer],u=ot(e,l,t.track,q(e,l,o)),a=r.chosen.map($=>{let p=u?` moves ${Ne(u[$])}`:"";return`${l.experts[$]} gate ${r.gates[$].
toFixed(2)}${p}`}),f=u?`; together ${Ne(w(u))} voxels of this level.`:".";return`${c}. ${l.name}, ${D(l,t.track)}: ${a.join(
"; ")}${f}`}var Uo=(e,{show:t,expert:o})=>({first:"First expert",gate:`Gate of ${e.experts[o]}`,entropy:"Entropy of the \
router"})[t],Ho=(e,t)=>e.experts.map((o,n)=>`${o} ${Math.round(t[n]*100)} percent`).join(", "),X={dice:["Dice",3],endpoint_error:[
"Error",2],folds:["Folds",4]},st=e=>Object.keys(X).filter(t=>t in e),Wo=e=>Math.max(2500,e.split(" ").length*330);var T=({title:e,kind:t,hidden:o=!1,children:n,...r})=>m`
  <section class=${`moe-card ${t}`} aria-label=${e} hidden=${o} ...${r}>
    <h3>${e}</h3>
    ${n}
  </section>
`,N=({colour:e})=>m`<i class="moe-swatch" style=${{background:e}} />`;function ie({legend:e,options:t,value:o,onchange:n,
compact:r=!1}){let s=te("moe-choice"),i=([c,l,u])=>m`
    <label>
      <input type="radio" name=${s} value=${c} checked=${c===o} onchange=${()=>n(c)} />
      <span>${u&&m`<${N} colour=${u} />`}${l}</span>
    </label>
  `;return m`
    <fieldset class=${r?"moe-choice moe-compact":"moe-choice"}>
      <legend>${e}</legend>
      ${t.map(i)}
    </fieldset>
  `}var Q=({onclick:e,disabled:t=!1,children:o})=>m`
  <button type="button" class="moe-toggle" disabled=${t} onclick=${e}>${o}</button>
`,ce=({pressed:e,onchange:t,hidden:o=!1,children:n})=>m`
  <button
    type="button"
    class="moe-toggle"
    hidden=${o}
    aria-pressed=${String(!!e)}
    onclick=${()=>t(!e)}
  >
    ${n}
  </button>
`;function I({label:e,text:t,min:o,max:n,value:r,oninput:s}){let i=te("moe-slider");return m`
    <div class="moe-slider">
      <label for=${i}>${e}</label>
      <input
        type="range"
        id=${i}
        min=${o}
        max=${n}
        step="1"
        value=${r}
        aria-valuetext=${t}
        oninput=${c=>s(Number(c.currentTarget.value))}
      />
      <output for=${i}>${t}</output>
    </div>
  `}function Xn({walk:e,store:t,state:{step:o,playing:n}}){let r=e.steps.length-1,{sentence:s,quote:i}=e.steps[o],c=u=>t.set(
{step:y(u,0,r)}),l=u=>{u&&t.state.step===r&&c(0),t.set({playing:u})};return m`
    <div
      class="moe moe-walk"
      role="region"
      aria-label=${`Step by step: ${e.title}`}
      data-theme=${Ge()}
      data-ready="true"
      data-step=${o}
    >
      <header class="moe-head"><h2>${e.title}</h2></header>
      <div class="moe-tools">
        <${Q} disabled=${o===0} onclick=${()=>c(o-1)}>Back<//>
        <${ce} pressed=${n} onchange=${l}>${n?"Pause":"Play"}<//>
        <${Q} disabled=${o===r} onclick=${()=>c(o+1)}>Next<//>
        <${I} label="Step" text=${`${o+1} of ${r+1}`} min="0" max=${r} value=${o} oninput=${c} />
      </div>
      <div class="moe-walk-body">
        <ol class="moe-steps">
          ${e.steps.map(({title:u},a)=>m`<${Qn} title=${u} i=${a} here=${a===o} onpick=${c} />`)}
        </ol>
        <div class="moe-card">
          <p class="moe-sentence" role="status" aria-live="polite">${s}</p>
          <${Zn} walk=${e} shown=${e.steps[o]} />
          <figure class="moe-quote">
            <pre><code>${i.code}</code></pre>
            <figcaption>${`${i.function}, ${i.file}, line ${i.line}`}</figcaption>
          </figure>
        </div>
      </div>
    </div>
  `}var Qn=({title:e,i:t,here:o,onpick:n})=>m`
  <li>
    <button
      type="button"
      data-here=${o?"":null}
      aria-current=${o?"step":null}
      onclick=${()=>n(t)}
    >
      <b>${t+1}</b>${e}
    </button>
  </li>
`,Zn=({walk:e,shown:{bars:t,strip:o,total:n}})=>m`
  <div class="moe-picture">
    <${er} values=${o??[]} hidden=${!o} />
    ${e.experts.map((r,s)=>m`<${or} key=${r} name=${r} colour=${e.colours[s]} e=${s} bars=${t} />`)}
    <p class="moe-result" hidden=${!n}>${n??""}</p>
  </div>
`;function er({values:e,hidden:t}){let o=Math.max(...e.map(Math.abs),1e-6),n=r=>Xe(ke(Ze,.5+r/o/2));return m`
    <div class="moe-features" aria-hidden="true" hidden=${t}>
      ${e.map(r=>m`<i style=${{background:n(r)}} title=${A(r)} />`)}
    </div>
  `}var tr={values:[],low:0,high:1,digits:2,faint:[]};function or({name:e,colour:t,e:o,bars:n}){let{values:r,low:s,high:i,
digits:c,faint:l}=n??tr,u=r[o]??null,a=u===null?"\u2013":s<0?A(u,c):L(u,c);return m`
    <div
      class=${l.includes(o)?"moe-row moe-dropped":"moe-row"}
      data-expert=${e}
      data-number=${u??""}
      hidden=${!n}
    >
      <span><${N} colour=${t} />${e}</span>
      <span class="moe-track">
        <i style=${{...Ye(u??0,s,i),background:t}} />
        <i class="moe-zero" style=${{left:`${oe(0,s,i)}%`}} hidden=${s>=0} />
      </span>
      <span class="moe-number">${a}</span>
    </div>
  `}function ye(e,t,o={}){let n=Re({step:0,playing:!1,...o}),r=()=>ze(m`<${Xn} walk=${t} store=${n} state=${n.state} />`,
e),s=null;r();let i=n.subscribe(({step:c,playing:l},u)=>{if(u.has("playing")||u.has("step")&&l){if(clearTimeout(s),l&&c===
t.steps.length-1)return n.set({playing:!1});let a=t.pace??Wo(t.steps[c].sentence);l&&(s=setTimeout(()=>n.set({step:c+1}),
a))}r()});return{store:n,replace(c){t=c,n.set({playing:!1,step:y(n.state.step,0,t.steps.length-1)}),r()},destroy(){clearTimeout(
s),i(),Ke(e)}}}var jt=[.1,.25,.5,.75,1,1.5,2,4,8],nr={k:{},without:{},temperature:1};function Bo({data:e,store:t,state:o}){let n=e.layers[o.
layer],r=l=>t.set({...l,field:"result",busy:!0}),s=new Set(o.without[n.name]??[]),i=n.experts.length-s.size,c=Math.min(o.
k[n.name]??n.k,i);return m`
    <${T} title="Run again" kind="moe-again" hidden=${!o.live} data-busy=${String(!!o.busy)}>
      <p class="moe-note">A change runs the network again on this pair.</p>
      <${rr} layer=${n} out=${s} onchange=${l=>r({without:{...t.state.without,[n.name]:l}})} />
      <${I}
        label="Experts per voxel, k"
        text=${`${c}`}
        min="1"
        max=${i}
        value=${c}
        oninput=${l=>r({k:{...t.state.k,[n.name]:l}})}
      />
      <${I}
        label="Softmax temperature"
        text=${`${o.temperature}`}
        min="0"
        max=${jt.length-1}
        value=${Jt(jt,o.temperature)}
        oninput=${l=>r({temperature:jt[l]})}
      />
      <${Q} onclick=${()=>r(nr)}>As trained<//>
      <p class="moe-scores" role="status">${o.busy?"Running\u2026":sr(e)}</p>
    <//>
  `}function rr({layer:e,out:t,onchange:o}){let n=(s,i)=>{let c=new Set(t);i?c.delete(s):c.add(s),o([...c].sort())},r=(s,i)=>m`
    <label key=${s}>
      <input
        type="checkbox"
        value=${s}
        checked=${!t.has(s)}
        disabled=${!t.has(s)&&t.size===e.experts.length-1}
        onchange=${c=>n(s,c.currentTarget.checked)}
      />
      <${N} colour=${e.colours[i]} />${s}
    </label>
  `;return m`
    <fieldset class="moe-checks">
      <legend>${`Experts in use, ${e.name}`}</legend>
      ${e.experts.map(r)}
    </fieldset>
  `}function sr(e){let t=e.trained??e.metrics,o=(n,r)=>L(n[r],X[r][1]);return st(e.metrics).map(n=>`${X[n][0]} ${o(e.metrics,
n)} (as trained ${o(t,n)})`).join(", ")}function it(e,t){let[o,n]=e.axes.map((r,s)=>s).filter(r=>r!==t);return{normal:t,row:o,column:n}}var ae=(e,t)=>e.axes.length===
2?-1:t.plane,ir={z:"axial",y:"coronal",x:"sagittal"},Ut=(e,t)=>ir[e.axes[t]],le=(e,t)=>[e.shape[t.row],e.shape[t.column]],
we=(e,t,o,n)=>`${n*e.spacing[t.column]} / ${o*e.spacing[t.row]}`;function O({row:e,column:t},o,n,r){let s=[...o];return s[e]=
n,s[t]=r,s}var qo=(e,t,o,n)=>`M-0.5 ${e}H${t-1.5}M${t+1.5} ${e}H${n-.5}M${t} -0.5V${e-1.5}M${t} ${e+1.5}V${o-.5}`;function Vo(e,t,o,n){
let[r,s]=le(e,n),i=Math.max(2,Math.round(Math.max(r,s)/16)),c=(u,a)=>{let f=B(e,t,O(n,o,u,a));return`${(a+f[n.column]).toFixed(
2)} ${(u+f[n.row]).toFixed(2)}`},l="";for(let u=0;u<r;u+=i)for(let a=0;a<s;a++)l+=(a?"L":"M")+c(u,a);for(let u=0;u<s;u+=
i)for(let a=0;a<r;a++)l+=(a?"L":"M")+c(a,u);return l}function zo(e,t,o,n){let[r,s]=le(e,n),i=Math.max(2,Math.round(Math.
max(r,s)/18)),c="";for(let l=i>>1;l<r;l+=i)for(let u=i>>1;u<s;u+=i){let a=B(e,t,O(n,o,l,u));Math.hypot(a[n.column],a[n.row])>
.2&&(c+=ct(u,l,u+a[n.column],l+a[n.row],.9))}return c}function ct(e,t,o,n,r){let s=Math.hypot(o-e,n-t),i=s&&Math.min(r,s*
.6)/s,[c,l]=[(o-e)*i,(n-t)*i],u=(f,$)=>`${f.toFixed(2)} ${$.toFixed(2)}`,a=[u(o-c-l*.5,n-l+c*.5),u(o-c+l*.5,n-l-c*.5)];return`\
M${u(e,t)}L${u(o,n)}M${a[0]}L${u(o,n)}L${a[1]}`}function Ko(e,t,o,n,r){let[s,i]=le(e,r),c=(u,a)=>tt(e,t,o,O(r,n,u,a)),l="";
for(let u=0;u<s;u++)for(let a=0;a<i;a++){let f=c(u,a);a+1<i&&c(u,a+1)!==f&&(l+=`M${a+.5} ${u-.5}v1`),u+1<s&&c(u+1,a)!==f&&
(l+=`M${a-.5} ${u+.5}h1`)}return l}var Me=(e,t)=>{let{low:o,high:n}=e.images.window,r=y((t-o)/(n-o),0,1)*255;return[r,r,r]};function Se(e,t,o){let n=(c,l)=>P(
e.read(e.images[c]),...l),r=e.images.window.high-e.images.window.low,s=Math.max(2,Math.round(Math.max(...e.shape)/6));return{
fixed:c=>Me(e,n("fixed",c)),moving:c=>Me(e,n("moving",c)),warped:c=>Me(e,re(e,o,c)),checkerboard:c=>w(c.map(l=>Math.floor(
l/s)))%2?Je(Me(e,re(e,o,c)),[255,214,150],.12):Me(e,n("fixed",c)),difference:c=>ke(Ze,.5+(re(e,o,c)-n("fixed",c))/r)}[t]}
function Go(e,t,o,{show:n,expert:r,field:s}){if(n==="first")return cr(e,t,o,et(e,s)?.layers[t.name]);if(n==="gate"){let[
c,l]=Ht(t,r);return u=>Je(c,l,E(e,t,o,u).gates[r])}let i=Math.log(t.experts.length);return c=>ke(Qe,E(e,t,o,c).entropy/i)}
function cr(e,t,o,n){let r=t.colours.map(ne);if(n){let i=e.read(n.first);return c=>r[P(i,o,...J(t,c,n.every))]}let s=e.read(
t.indices);return i=>r[P(s,o,0,...J(t,i))]}var Ht=(e,t)=>[Oo(e.colours[t]),ne(e.colours[t])];function Yo(e,t,o,n,r){return at(
e,t,(s,i)=>r(O(o,n,s,i)))}function at(e,t,o){let n=new Uint8ClampedArray(e*t*4);for(let r=0,s=0;r<e;r++)for(let i=0;i<t;i++,
s+=4){let c=o(r,i);c&&([n[s],n[s+1],n[s+2],n[s+3]]=[c[0],c[1],c[2],255])}return n}var ar={ArrowUp:["row",-1],ArrowDown:["row",1],ArrowLeft:["column",-1],ArrowRight:["column",1],PageUp:["normal",1],PageDown:[
"normal",-1],Home:["home",0]};function Jo(e,{shift:t}){return o=>{let[n,r]=ar[o.key]??[];!n||e(n,r*(o.shiftKey?t:1))===!1||
(o.preventDefault(),o.stopPropagation())}}function Xo(e,t){return[(t.clientY-e.top)/e.height,(t.clientX-e.left)/e.width]}function Qo({ondrag:e,onpress:t,onhover:o,
onleave:n}){return{onpointerdown:r=>{r.button||(r.currentTarget.setPointerCapture(r.pointerId),t?.(r))},onpointermove:r=>{
r.currentTarget.hasPointerCapture(r.pointerId)?e(r):r.pointerType==="mouse"&&o?.(r)},onpointerleave:r=>n?.(r)}}function Pe({rows:e,columns:t,pixels:o,given:n}){let r=Ft();return W(()=>{r.current.getContext("2d").putImageData(new ImageData(
o(),t,e),0,0)},[e,t,...n]),m`<canvas ref=${r} width=${t} height=${e} aria-hidden="true" />`}var ue=({box:e,kind:t=null,children:o})=>m`
  <svg class=${t} viewBox=${e} preserveAspectRatio="none" aria-hidden="true">${o}</svg>
`,Wt=(e,t)=>ve(t)?e:`${e} moe-light-under`,Ae=({box:e,colour:t,...o})=>m`
  <rect class=${Wt("moe-kernel-under",t)} ...${e} />
  <rect class="moe-kernel" ...${e} stroke=${t} ...${o} />
`,lt=e=>.55+.45*e;function Te({data:e,store:t,state:o,name:n,normal:r,paint:s,overlay:i,extra:c,label:l}){let u=R(()=>it(e,r),[e,r]),[a,f]=le(
e,u),$=o.voxel[r],p=R(()=>i(u,o.voxel),[i,u,$]),_=`-0.5 -0.5 ${f} ${a}`,d=()=>Yo(a,f,u,o.voxel,s);return m`
    <div
      class="moe-plane"
      data-plane=${n}
      style=${{aspectRatio:we(e,u,a,f)}}
      ...${pr(e,t,u)}
      ...${l&&{tabindex:0,role:"application","aria-roledescription":"slice","aria-label":l}}
      onkeydown=${l&&Jo((h,x)=>mr(e,t,u[h],x),{shift:5})}
    >
      <${Pe} rows=${a} columns=${f} pixels=${d} given=${[u,$,s]} />
      <${ue} box=${_}>${p}<//>
      <${ue} box=${_} kind="moe-cursor">
        <${lr} state=${o} axes=${u} rows=${a} columns=${f} />
        ${c?.(u)}
        ${o.hover&&m`<${ur} voxel=${o.hover} axes=${u} />`}
      <//>
    </div>
  `}function lr({state:e,axes:t,rows:o,columns:n}){let r=qo(e.voxel[t.row],e.voxel[t.column],o,n);return m`<path class="moe-cross-under" d=${r} /><path class="moe-cross" d=${r} />`}
var ur=({voxel:e,axes:t})=>m`
  <rect class="moe-hover" x=${e[t.column]-.5} y=${e[t.row]-.5} width="1" height="1" />
`;function pr(e,t,o){return R(()=>{let[n,r]=le(e,o),s=c=>{let[l,u]=Xo(c.currentTarget.getBoundingClientRect(),c),[a,f]=[
y(Math.floor(l*n),0,n-1),y(Math.floor(u*r),0,r-1)];return O(o,t.state.voxel,a,f)},i=c=>ut(t,s(c));return Qo({onpress:i,ondrag:i,
onhover:c=>t.set({hover:s(c)}),onleave:()=>t.set({hover:null})})},[e,t,o])}var ut=(e,t)=>e.set({voxel:t,hover:null});function mr(e,t,o,n){
if(!(o>=0))return!1;let r=[...t.state.voxel];r[o]=y(r[o]+n,0,e.shape[o]-1),ut(t,r)}var pt=({caption:e,onenlarge:t,...o})=>m`
  <div class="moe-small">
    <${Te} ...${o} />
    <button type="button" class="moe-caption" aria-label=${`Enlarge ${e}`} onclick=${t}>
      ${e}
    </button>
  </div>
`;var Bt=(e,t)=>t.map((o,n)=>o*e.every*e.stride[n]);function Zo(e,t,o,n,r){let{place:s,chosen:i,gates:c}=E(e,t,o,n),l=Bt(t,
s);return[...i].reverse().filter(u=>t.kernels[u]).map(u=>{let a=t.kernels[u],[f,$]=[a*t.stride[r.column],a*t.stride[r.row]],
[p,_]=[l[r.column]-f/2,l[r.row]-$/2];return{expert:u,extent:a,gate:c[u],box:{x:p,y:_,width:f,height:$}}})}function en(e,t,o,n,r){
let[s]=se(e,t,o,n);if(!s)return null;let{low:i,high:c,expert:l}=s,u=$=>(i[$]-.5)*t.stride[$],a=$=>(c[$]-i[$])*t.stride[$],
f={x:u(r.column),y:u(r.row),width:a(r.column),height:a(r.row)};return{expert:l,box:f}}function tn(e,t,o,n,r){let s=q(e,t,
o);if(!s)return null;let i=t.experts.map((p,_)=>[_,s[n.column][_],s[n.row][_]]).filter(([,p,_])=>Math.hypot(p,_)>.001),c=[
w(i.map(([,p])=>p)),w(i.map(([,,p])=>p))],l=Math.max(Math.hypot(...c),...i.map(([,p,_])=>Math.hypot(p,_)),1e-6),u=[.1,.2,
.5,1,2,5,10,20].findLast(p=>l*p<r*.9)??.1,[a,f]=[0,0],$=i.map(([p,_,d])=>{let h=ct(a*u,f*u,(a+_)*u,(f+d)*u,.45);return[a,
f]=[a+_,f+d],{expert:p,d:h}});return{sum:ct(0,0,c[0]*u,c[1]*u,.5),links:$,scale:u}}var mt=({data:e,which:t,field:o,voxel:n,axes:r,kind:s})=>m`
  <path class=${`moe-outline moe-outline-${s}`} d=${Ko(e,t,o,n,r)} data-labels=${t} />
`,on=({data:e,field:t,voxel:o,axes:n})=>m`
  <path class="moe-grid" d=${Vo(e,t,o,n)} />
`;function nn({data:e,field:t,voxel:o,axes:n}){let r=zo(e,t,o,n);return m`<path class="moe-arrows-under" d=${r} /><path class="moe-arrows" d=${r} />`}
function rn({data:e,layer:t,track:o,voxel:n,axes:r}){if(t.attention){let s=en(e,t,o,n,r);return s&&m`<${Ae} box=${s.box} colour=${t.
colours[s.expert]} data-window="true" />`}return Zo(e,t,o,n,r).map(({expert:s,extent:i,gate:c,box:l})=>m`
      <${Ae}
        box=${l}
        colour=${t.colours[s]}
        data-expert=${t.experts[s]}
        data-extent=${i}
        stroke-opacity=${lt(c)}
      />
    `)}var cn=[["fixed","Fixed"],["moving","Moving"],["warped","Warped"],["checkerboard","Checker"],["difference","Difference"]],
sn=[["fixed","dashed"],["warped","solid"]],an={fixed:[["fixed","solid"]],moving:[["moving","solid"]],warped:sn,checkerboard:[
["fixed","solid"]],difference:sn};function ln({data:e,store:t,state:o}){let{image:n,field:r,labels:s,grid:i,arrows:c}=o,
l=ae(e,o),[u,a]=[fr(e,n,r),$r(e,{image:n,field:r,labels:s,grid:i,arrows:c})],$={data:e,store:t,state:o,paint:u,overlay:a,
extra:p=>_r(e,o,p)};return m`
    <${T} title="Images" kind="moe-images">
      <div class="moe-tools">
        <${ie} legend="Image" options=${cn} value=${n} onchange=${p=>t.set({image:p})} />
      </div>
      <div class="moe-stage">
        <${Te} name="image" normal=${l} label=${hr(e,n,l)} ...${$} />
      </div>
      ${l>=0&&m`<${xr} data=${e} store=${t} state=${o} />`}
      <div class="moe-strip">${dr(e,l).map((p,_)=>gr(p,_,$))}</div>
      <div class="moe-tools"><${vr} data=${e} store=${t} state=${o} /></div>
      <label class="moe-field">Field<${kr} data=${e} store=${t} field=${r} /></label>
      <p class="moe-note">${s&&an[n].length===2?"Outlines: warped solid, fixed dashed.":""}</p>
    <//>
  `}var fr=(e,t,o)=>Y(Se(e,t,o),[e,t,o]);function $r(e,{image:t,field:o,labels:n,grid:r,arrows:s}){return Y((c,l)=>{let u={
data:e,field:o,voxel:l,axes:c};return[...(n&&e.labels?an[t]:[]).map(([f,$])=>m`<${mt} which=${f} kind=${$} ...${u} />`),
r&&m`<${on} ...${u} />`,s&&m`<${nn} ...${u} />`]},[e,t,o,n,r,s])}function _r(e,t,o){let n=e.layers[t.layer];return!t.kernels||
!n?null:m`<${rn} data=${e} layer=${n} track=${t.track} voxel=${Fe(t)} axes=${o} />`}function hr(e,t,o){let[,n]=cn.find(([
i])=>i===t),[r,s]=o<0?["the image","."]:[`${Ut(e,o)} plane`,", Page Up and Page Down change the slice."];return`${n} ima\
ge, ${r}. Arrow keys move the voxel${s}`}var dr=(e,t)=>t<0?[]:e.axes.map((o,n)=>n).filter(o=>o!==t);function gr(e,t,o){let{
data:n,store:r,state:s}=o;return m`<${pt}
    name=${`image-${t}`}
    normal=${e}
    caption=${`${Ut(n,e)} \xB7 ${n.axes[e]} ${s.voxel[e]}`}
    onenlarge=${()=>r.set({plane:e})}
    ...${o}
  />`}function xr({data:e,store:t,state:{plane:o,voxel:n}}){let r=s=>ut(t,t.state.voxel.map((i,c)=>c===t.state.plane?s:i));
return m`<${I}
    label=${`${e.axes[o]} slice`}
    text=${`${n[o]}`}
    min="0"
    max=${e.shape[o]-1}
    value=${n[o]}
    oninput=${r}
  />`}function vr({data:e,store:t,state:o}){let n=e.layers[o.layer]?.attention?"Window":"Kernels",r={grid:"Grid",arrows:"\
Arrows",labels:e.labels&&"Outlines",kernels:n};return Object.entries(r).map(([s,i])=>i&&m`<${ce}
        key=${s}
        pressed=${o[s]}
        hidden=${s==="kernels"&&!e.layers.length}
        onchange=${c=>t.set({[s]:c})}
      >
        ${i}
      <//>`)}function kr({data:e,store:t,field:o}){let n=["result","none",...e.steps.map((s,i)=>`step:${i}`)],r=n.includes(
o);return m`
    <select
      class="moe-select"
      aria-label="Field that is applied"
      value=${r?o:"other"}
      onchange=${s=>t.set({field:s.currentTarget.value})}
    >
      ${n.map(s=>m`
          <option value=${s}>${s==="none"?"before (no displacement)":be(e,s)}</option>
        `)}
      <option value="other" hidden>${r?"":be(e,o)}</option>
    </select>
  `}var ft=({value:e,low:t,high:o,colour:n})=>m`
  <span class="moe-bar" aria-hidden="true">
    ${t<0&&m`<i class="moe-zero" style=${{left:`${oe(0,t,o)}%`}} />`}
    <i style=${{...Ye(e,t,o),background:n}} />
  </span>
`,$t=({layer:e,pieces:t})=>t.map(([o,n,r])=>{let s=ve(e.colours[o])?"moe-dark-text":"moe-light-text",i={width:`${n*100}%`,
background:e.colours[o]};return m`<i class=${s} style=${i} title=${`${e.experts[o]} ${me(n)}`}>
      ${n>.14?r:""}
    </i>`});function pn({data:e,store:t,state:o}){let n=e.layers[o.layer],r=e.knockouts.map((l,u)=>({...l,i:u})).filter(l=>l.layer===
n.name),s=st(e.metrics),i=Math.max(...r.map(({change:l})=>l),1e-6),c={name:te("moe-knockout"),store:t,shown:s,now:o.field};
return m`
    <${T} title="Knock-out" kind="moe-knockout" hidden=${!r.length}>
      <p class="moe-note">The network was run again without one expert of this layer.</p>
      <div class="moe-scroll">
        <table class="moe-route">
          <caption>${n.name}</caption>
          <thead>
            <tr>
              ${["Left out","Field changes",...s.map(l=>X[l][0])].map(l=>m`<th scope="col">${l}</th>`)}
            </tr>
          </thead>
          <tbody>
            <${un} key="result" field="result" metrics=${e.metrics} label="none" ...${c} />
            ${r.map(({i:l,expert:u,change:a,metrics:f})=>m`<${un}
                key=${l}
                field=${`knockout:${l}`}
                metrics=${f}
                label=${n.experts[u]}
                colour=${n.colours[u]}
                change=${{value:a,low:0,high:i}}
                ...${c}
              />`)}
          </tbody>
        </table>
      </div>
    <//>
  `}function un({name:e,store:t,shown:o,now:n,field:r,metrics:s,label:i,colour:c,change:l}){let u=te("moe-without");return m`
    <tr data-field=${r}>
      <th scope="row">
        <input
          type="radio"
          name=${e}
          id=${u}
          value=${r}
          checked=${r===n}
          onchange=${()=>t.set({field:r})}
        />
        <label for=${u}>${c&&m`<${N} colour=${c} />`}${i}</label>
      </th>
      <td data-number=${l?.value}>
        ${l&&m`${L(l.value)}<${ft} ...${l} colour=${c} />`}
      </td>
      ${o.map(a=>m`<td data-number=${s[a]}>${L(s[a],X[a][1])}</td>`)}
    </tr>
  `}function mn({data:e,store:t,state:o}){let n=et(e,o.field),r=n?` at training step ${n.step}`:"";return m`
    <${T} title="Load" kind="moe-load">
      <p class="moe-note">${`Share of assignments each expert got${r}.`}</p>
      <div class="moe-groups">
        ${e.layers.map((s,i)=>m`
            <div class="moe-loads" role="group" aria-label=${s.name}>
              <h4>${s.name}</h4>
              ${s.tracks.map((c,l)=>m`<${br}
                  layer=${s}
                  name=${c}
                  load=${n?.layers[s.name]?.load[l]??s.load[l]}
                  pressed=${i===o.layer&&l===o.track}
                  onpick=${()=>t.set({...nt(e,t.state,i),track:l})}
                />`)}
            </div>
          `)}
      </div>
    <//>
  `}function br({layer:e,name:t,load:o,pressed:n,onpick:r}){let s=o.map((i,c)=>[c,i,e.experts[c].replace(/^head /,"")]);
return m`
    <button
      type="button"
      class="moe-sum"
      data-load=${`${e.name}/${t}`}
      aria-pressed=${String(n)}
      aria-label=${`${e.name} ${t}: ${Ho(e,o)}`}
      onclick=${r}
    >
      <b>${t}</b>
      <span class="moe-track moe-stack" aria-hidden="true"><${$t} layer=${e} pieces=${s} /></span>
    </button>
  `}var yr=2;function $n({data:e,store:t,state:o}){let n=e.layers[o.layer],r={data:e,store:t,state:o,normal:ae(e,o),overlay:Mr(
e,o.labels)},s=n.tracks.map((i,c)=>c).filter(i=>i!==o.track);return m`
    <${T} title="Routing" kind="moe-routing">
      <div class="moe-tools">
        <${Sr} data=${e} store=${t} layer=${o.layer} />
        <div class="moe-slot"><${Pr} store=${t} state=${o} layer=${n} /></div>
      </div>
      <div class="moe-stage">
        <${fn} view=${Te} track=${o.track} name="map" label=${wr(n,o)} ...${r} />
      </div>
      <div class="moe-tools">
        <${Tr} store=${t} state=${o} layer=${n} />
        <p class="moe-scale"><${Er} layer=${n} state=${o} /></p>
      </div>
      <div class="moe-tools">
        <div class="moe-slot"><${Ar} store=${t} state=${o} layer=${n} /></div>
      </div>
      <div class="moe-strip">${s.slice(0,yr).map((i,c)=>m`<${fn}
          view=${pt}
          track=${i}
          name=${`map-${c}`}
          caption=${D(n,i)}
          onenlarge=${()=>t.set({track:i})}
          ...${r}
        />`)}</div>
      <p class="moe-note">${Cr(n)}</p>
    <//>
  `}var wr=(e,t)=>`${Uo(e,t)}, ${e.name}, ${D(e,t.track)}. Arrow keys move the voxel.`;function fn({view:e,track:t,...o}){
let{data:n,state:r}=o,{layer:s,show:i,expert:c,field:l}=r,u=Go(n,n.layers[s],t,r),a=Y(u,[n,s,t,i,c,l]);return m`<${e} paint=${a} ...${o} />`}
function Mr(e,t){return Y((n,r)=>t&&e.labels?m`<${mt} data=${e} which="fixed" kind="map" field="result" voxel=${r} axes=${n} />`:
null,[e,t])}var Sr=({data:e,store:t,layer:o})=>m`
  <select
    class="moe-select"
    aria-label="Routed layer"
    value=${o}
    onchange=${n=>t.set(nt(e,t.state,Number(n.currentTarget.value)))}
  >
    ${e.layers.map(({name:n},r)=>m`<option value=${r}>${n}</option>`)}
  </select>
`,Pr=({store:e,state:t,layer:o})=>m`<${ie}
  legend=${Dt(o)}
  options=${o.tracks.map((n,r)=>[r,n])}
  value=${t.track}
  onchange=${n=>e.set({track:n})}
  compact
/>`,Ar=({store:e,state:t,layer:o})=>m`<${ie}
  legend=${rt(o)?"Expert (kernel)":"Expert (head)"}
  options=${o.experts.map((n,r)=>[r,n.replace(/^head /,""),o.colours[r]])}
  value=${t.expert}
  onchange=${n=>e.set({expert:n,show:"gate"})}
  compact
/>`,Tr=({store:e,state:t,layer:o})=>m`<${ie}
  legend="Map"
  options=${[["first","First expert"],["gate",`Gate of ${o.experts[t.expert]}`],["entropy","Entropy"]]}
  value=${t.show}
  onchange=${n=>e.set({show:n})}
/>`;function Er({layer:e,state:{show:t,expert:o}}){if(t==="first")return null;let[n,r]=t==="gate"?[Ht(e,o),"1"]:[Qe,`${L(
Math.log(e.experts.length))} nats`],s=`linear-gradient(90deg, ${n.map(Xe).join(", ")})`;return m`0<i class="moe-ramp" style=${{
background:s}} />${r}`}var Cr=e=>(e.every>1?`Every ${Oe(e.every-1)} voxel of this layer is stored. `:"")+`Grid ${e.grid.
join("\u2009\xD7\u2009")}, one voxel of it is ${e.stride[0]} of the image. ${e.k} of ${e.experts.length} experts are cho\
sen.`;var Lr=700,[qt,Vt]=[300,80];function _n({data:e,store:t,state:o}){let n=e.snapshots.length-1,[r,s]=Nr(t,n),i=e.layers[o.
layer],c=zt(o,n),{step:l,metrics:u}=e.snapshots[c],a=e.snapshots.map(({layers:$})=>$[i.name]?.load[o.track]??[]),f="dice"in
u?` Dice at step ${l}: ${L(u.dice,3)}.`:"";return m`
    <${T} title="Training" kind="moe-training">
      <p class="moe-note">${`Load of ${i.name}, ${D(i,o.track)}, while it was trained.${f}`}</p>
      <svg class="moe-chart" viewBox=${`0 0 ${qt} ${Vt}`} preserveAspectRatio="none" aria-hidden="true">
        ${No(a,i.experts.length,[qt,Vt]).map(($,p)=>m`<path class="moe-area" d=${$} style=${{fill:i.colours[p]}} />`)}
        <path class="moe-marker" d=${`M${c/n*qt} 0V${Vt}`} />
      </svg>
      <${I}
        label="Training step"
        text=${`step ${l}`}
        min="0"
        max=${n}
        value=${c}
        oninput=${$=>t.set({field:`snapshot:${$}`})}
      />
      <div class="moe-tools">
        <${ce} pressed=${r} onchange=${s}>${r?"Pause":"Play"}<//>
        <${Q} onclick=${()=>t.set({field:"result"})}>Result<//>
      </div>
    <//>
  `}var zt=(e,t)=>e.field.startsWith("snapshot:")?Number(e.field.slice(9)):t;function Nr(e,t){let[o,n]=ee(!1);return W(()=>{
if(!o)return;let s=setInterval(()=>{let i=zt(e.state,t)+1;i>t?n(!1):e.set({field:`snapshot:${i}`})},Lr);return()=>clearInterval(
s)},[o]),[o,s=>{s&&zt(e.state,t)===t&&e.set({field:"snapshot:0"}),n(s)}]}function dn({data:e,layer:t,state:o,voxel:n}){let r=it(e,ae(e,o)),s=E(e,t,o.track,n),i={data:e,layer:t,state:o,voxel:n,axes:r,
decision:s};if(!t.attention)return rt(t)&&m`<${Or} ...${i} />`;let c=Ir(t,o.track);return se(e,t,o.track,n).map(l=>m`<${jr} source=${c} head=${l} ...${i} />`)}
var hn=4;function Or(e){let{data:t,layer:o,voxel:n,axes:r,decision:s}=e,i=Math.max(...o.kernels.map(a=>a??1))/2+.75,c=tn(
t,o,n,r,i),l=c?.scale??1,u=l===1?"arrows at true size":`arrows \xD7${l}`;return m`
    <figure class="moe-lens">
      <div style=${{aspectRatio:we(t,r,1,1)}}>
        <${Fr} reach=${i} ...${e} />
        <${ue} box=${`${-i} ${-i} ${2*i} ${2*i}`}>
          ${o.kernels.map((a,f)=>m`<${Rr} layer=${o} e=${f} decision=${s} />`)}
          ${c&&m`<${Dr} layer=${o} chain=${c} />`}
        <//>
      </div>
      <figcaption>${`Kernels at true size, one square is one voxel of the level; ${u}`}</figcaption>
    </figure>
  `}function Fr({data:e,layer:t,state:o,voxel:n,axes:r,decision:s,reach:i}){let c=Math.round(2*i*hn),l=Bt(t,s.place),u=()=>{
let _=Se(e,o.image,o.field),d=(h,x)=>Math.round(l[h]+((x+.5)/hn-i)*t.stride[h]);return at(c,c,(h,x)=>{let[g,v]=[d(r.row,
h),d(r.column,x)];return g>=0&&v>=0&&g<e.shape[r.row]&&v<e.shape[r.column]?_(O(r,n,g,v)).map(pe=>pe*.8):null})},{image:a,
field:f,plane:$}=o,p=[e,t,a,f,$,n.join(",")];return m`<${Pe} rows=${c} columns=${c} pixels=${u} given=${p} />`}function Rr({
layer:e,e:t,decision:{chosen:o,gates:n}}){let[r,s]=[e.kernels[t],e.colours[t]],i={x:-r/2,y:-r/2,width:r,height:r};return o.
includes(t)?m`<${Ae} box=${i} colour=${s} stroke-opacity=${lt(n[t])} />`:m`<rect class="moe-kernel moe-kernel-off" ...${i} stroke=${s} stroke-opacity="0.8" />`}
var Dr=({layer:e,chain:t})=>m`
  <path class="moe-chain-sum" d=${t.sum} />
  ${t.links.map(({expert:o,d:n})=>m`
      <path class=${Wt("moe-chain-under",e.colours[o])} d=${n} />
      <path class="moe-chain" d=${n} stroke=${e.colours[o]} data-expert=${e.experts[o]} />
    `)}
`;function Ir(e,t){let o=e.tracks[t].includes("moving")?"moving":"fixed";return e.attention.cross?{moving:"fixed",fixed:"\
moving"}[o]:o}function jr({source:e,head:t,...o}){let{data:n,layer:r,axes:s,decision:i}=o,{expert:c,gate:l,low:u,high:a,
weights:f}=t,[$,p]=[s.row,s.column].map(x=>a[x]-u[x]),_=Math.max(...f),d=Ur(t,s,i.place),h=w(d.map(([,x])=>x));return m`
    <figure class="moe-lens moe-attention" data-head=${r.experts[c]} data-source=${e}>
      <div style=${{aspectRatio:we(n,s,$,p)}}>
        <${Hr} source=${e} low=${u} high=${a} ...${o} />
        <${ue} box=${`0 0 ${p} ${$}`}>
          ${d.map(([x,g])=>m`<circle
              class="moe-disc"
              cx=${x[s.column]-u[s.column]+.5}
              cy=${x[s.row]-u[s.row]+.5}
              r=${.46*Math.sqrt(g/_)}
              fill=${r.colours[c]}
              data-token=${x.join(",")}
              data-weight=${g}
            />`)}
          <rect
            class="moe-token"
            x=${i.place[s.column]-u[s.column]}
            y=${i.place[s.row]-u[s.row]}
            width="1"
            height="1"
          />
        <//>
      </div>
      <figcaption>
        <${N} colour=${r.colours[c]} />
        ${` ${r.experts[c]}, gate ${l.toFixed(2)}, looks at the ${e} image: `}
        ${`${me(h)} in this slice, at most ${me(_)} on one token`}
      </figcaption>
    </figure>
  `}var Ur=({tokens:e,weights:t},{normal:o},n)=>e.map((r,s)=>[r,t[s]]).filter(([r])=>o<0||r[o]===n[o]);function Hr({data:e,
layer:t,state:o,voxel:n,axes:r,source:s,low:i,high:c}){let[l,u]=[r.row,r.column].map($=>(c[$]-i[$])*t.stride[$]),a=()=>{
let $=Se(e,s,"result"),p=(_,d)=>y(i[_]*t.stride[_]+d-(t.stride[_]>>1),0,e.shape[_]-1);return at(l,u,(_,d)=>$(O(r,n,p(r.row,
_),p(r.column,d))).map(h=>h*.7))},f=[e,t,s,o.plane,n.join(",")];return m`<${Pe} rows=${l} columns=${u} pixels=${a} given=${f} />`}var Wr="Experts\u2019 shares add up to this level\u2019s step, in voxels of the level.",xn=48;function vn({data:e,layer:t,
shares:o,state:n,store:r}){let s=Math.max(.25,...o.map(i=>w(i.map(Math.abs))));return m`
    <p class="moe-note">${Wr}</p>
    ${o.map((i,c)=>m`<${Br}
        key=${c}
        name=${e.axes[c]}
        layer=${t}
        row=${i}
        span=${s}
        pressed=${c===n.track}
        onpick=${()=>c<t.tracks.length&&r.set({track:c})}
      />`)}
  `}function Br({name:e,layer:t,row:o,span:n,pressed:r,onpick:s}){let i=w(o);return m`
    <button
      type="button"
      class="moe-sum"
      data-direction=${e}
      data-total=${i}
      aria-label=${`Direction ${e}, sum ${A(i)} voxels`}
      aria-pressed=${String(r)}
      onclick=${s}
    >
      <b>${e}</b>
      <span class="moe-track">
        <i class="moe-zero" style=${{left:"50%"}} />
        ${Lo(o).map(({e:c,start:l,value:u})=>m`<i
            class="moe-piece"
            title=${`${t.experts[c]} ${A(u)}`}
            style=${{left:`${gn(l,n)}%`,width:`${Math.abs(u)/n*xn}%`,background:t.colours[c]}}
          />`)}
        <i class="moe-total" style=${{left:`${gn(i,n)}%`}} />
      </span>
      <span class="moe-number">${A(i)}</span>
    </button>
  `}var gn=(e,t)=>50+e/t*xn;function kn({layer:e,state:t,decision:o,share:n}){let r=["Expert","Logit","Softmax",`Top\u2011${e.k}`,"Gate",...n?["Move\
s"]:[]],s={logit:Math.max(1,...o.logits.map(Math.abs)),share:n&&Math.max(.1,...n.map(Math.abs))};return m`
    <table class="moe-route">
      <caption>${`${e.name}, ${D(e,t.track)}`}</caption>
      <thead>
        <tr>
          ${r.map(i=>m`<th scope="col">${i}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${e.experts.map((i,c)=>m`<${qr}
            key=${i}
            layer=${e}
            e=${c}
            here=${c===t.expert}
            decision=${o}
            share=${n}
            scales=${s}
          />`)}
      </tbody>
    </table>
  `}function qr({layer:e,e:t,here:o,decision:{logits:n,probabilities:r,chosen:s,gates:i},share:c,scales:l}){let[u,a,f]=[
e.experts[t],e.colours[t],s.indexOf(t)],$=f<0,p={colour:a,low:0,high:1},_=e.left_out.includes(t)?"out":A(n[t]);return m`
    <tr data-expert=${u} class=${$?"moe-dropped":""} aria-current=${o?"true":null}>
      <th scope="row"><${N} colour=${a} />${u}</th>
      <${_t} name="logit" value=${n[t]} text=${_} ...${p} low=${-l.logit} high=${l.logit} />
      <${_t} name="softmax" value=${r[t]} text=${r[t].toFixed(2)} ...${p} />
      <td data-value="rank" data-number=${f}>${$?"\u2013":Oe(f)}</td>
      <${_t} name="gate" value=${i[t]} text=${$?"0":i[t].toFixed(2)} ...${p} />
      ${c&&m`<${_t}
          name="share"
          value=${c[t]}
          text=${$?"0":A(c[t])}
          ...${p}
          low=${-l.share}
          high=${l.share}
        />`}
    </tr>
  `}var _t=({name:e,value:t,text:o,low:n,high:r,colour:s})=>m`
  <td data-value=${e} data-number=${t}>
    <span>${o}</span>
    <${ft} value=${t} low=${n} high=${r} colour=${s} />
  </td>
`;var Vr=["result","none"],zr=200;function bn(e,t){let o=Fe(t),n=B(e,t.field,o),r=e.layers[t.layer]??null,s=r&&E(e,r,t.track,
o),i=r&&q(e,r,o);return{voxel:o,u:n,layer:r,decision:s,shares:i}}function yn({data:e,store:t,state:o,seen:n}){let{voxel:r,
u:s,layer:i,decision:c,shares:l}=n,u=i&&ot(e,i,o.track,l);return m`
    <${T} title="At this voxel" kind="moe-voxel" data-voxel=${r.join(",")}>
      <${wn} data=${e} state=${o} seen=${n} displacement=${s.join(",")}>
        ${i&&!Vr.includes(o.field)&&m`<span>decisions are those of the result</span>`}
      <//>
      <div class="moe-lenses">
        ${i&&m`<${dn} data=${e} layer=${i} state=${o} voxel=${r} />`}
      </div>
      <div class="moe-scroll">
        ${i&&m`<${kn} layer=${i} state=${o} decision=${c} share=${u} />`}
      </div>
      <div class="moe-sums">
        ${l&&m`<${vn} data=${e} layer=${i} shares=${l} state=${o} store=${t} />`}
      </div>
      <${Kr} text=${jo(e,o,r,s,c)} />
    <//>
  `}function wn({data:e,state:t,seen:{voxel:o,u:n},displacement:r=null,children:s}){return m`
    <p class="moe-where">
      <strong>${o.map((i,c)=>`${e.axes[c]} ${i}`).join("\u2002")}</strong>
      <span>${It(e,t,o)||"no label"}</span>
      <span data-displacement=${r}>${`u = (${n.map(i=>A(i)).join(", ")})`}</span>
      ${s}
    </p>
  `}function Kr({text:e}){let[t,o]=ee("");return W(()=>{let n=setTimeout(()=>o(e),zr);return()=>clearTimeout(n)},[e]),m`<p class="moe-live" role="status" aria-live="polite">${t}</p>`}
function Mn({data:e,state:t,seen:o}){let{layer:n,decision:r}=o;return m`
    <div class="moe-pocket" aria-hidden="true">
      ${n&&m`
          <${wn} data=${e} state=${t} seen=${o} />
          <span class="moe-track moe-stack"><${$t} layer=${n} pieces=${Gr(n,r)} /></span>
        `}
    </div>
  `}function Gr(e,{chosen:t,gates:o}){let n=w(t.map(r=>o[r]))||1;return t.map(r=>[r,o[r]/n,`${e.experts[r]} ${o[r].toFixed(
2)}`])}var Yr=xe(["layer","track","field"],mn),Jr=xe(["layer","field"],pn),Xr=xe(["layer","live","k","without","temperature","b\
usy"],Bo),Qr=xe(["layer","track","field"],_n);function Zr(e){let{data:t,state:o}=e,[n,r]=[t.layers.length>0,bn(t,o)];return m`
    <div
      class="moe"
      role="region"
      aria-label=${`Explorer: ${t.title}`}
      data-theme=${Ge()}
      data-ready="true"
    >
      <header class="moe-head">
        <h2>${t.title}</h2>
        <span class="moe-badge">${o.field==="result"?"":`Shown: ${be(t,o.field)}`}</span>
      </header>
      <div class="moe-columns">
        <${ln} ...${e} />
        ${n&&m`<${$n} ...${e} />`}
        <${yn} seen=${r} ...${e} />
      </div>
      <div class="moe-more">${n&&m`<${es} ...${e} />`}</div>
      <${Mn} seen=${r} ...${e} />
    </div>
  `}var es=e=>m`
  <${Yr} ...${e} />
  <${Jr} ...${e} />
  <${Xr} ...${e} />
  ${e.data.snapshots.length>1&&m`<${Qr} ...${e} />`}
`;function Ee(e,t,o={}){let n=Re({...Zt(t),...o}),r=()=>ze(m`<${Zr} data=${t} store=${n} state=${n.state} />`,e);r();let s=n.
subscribe(r);return{store:n,replace(i){t={...t,...i};let c=t.knockouts.length||!n.state.field.startsWith("knockout:");n.
set({busy:!1,field:c?n.state.field:"result"}),r()},destroy(){s(),Ke(e)}}}async function Kt(e,t,o){return t.view==="steps"?ye(e,t,o):Ee(e,await Z(t),o)}function Sn(e){return Promise.all([...e.querySelectorAll(
"[data-moereg-explorer]:not([data-moereg-alive])")].map(async t=>{t.dataset.moeregAlive="true";let o=JSON.parse(t.querySelector(
"script[type='application/json']").textContent);return t.explorer=await Kt(t.querySelector("[data-moereg-mount]"),o),performance.
mark("moereg-ready"),t.explorer}))}var ht=({model:e,el:t})=>e.get("view")==="steps"?ns(e,t):os(e,t),ts=["hover","busy","\
live"];async function os(e,t){let o=u=>e.get(u),n=await Z(xt(o("payload"))),r=Ee(t,n,kt(n,o)),{store:s}=r,i=gt(e,{current:()=>to(
n,s.state),apply:u=>s.set(kt(n,u))});s.subscribe((u,a)=>{[...a].every(f=>ts.includes(f))||i.changed()});let c=async()=>r.
replace(await Z(xt(o("payload")))),l=u=>{u.alive&&s.set({live:!0}),u.failed&&s.set({busy:!1})};return e.on("change:paylo\
ad",c),e.on("msg:custom",l),e.send({hello:!0}),()=>{i.stop(),e.off("change:payload",c),e.off("msg:custom",l),r.destroy()}}
function ns(e,t){let o=ye(t,e.get("payload"),{step:e.get("step")}),n=gt(e,{current:()=>({step:o.store.state.step}),apply:s=>o.
store.set({step:s("step")})});o.store.subscribe((s,i)=>i.has("step")&&n.changed());let r=()=>o.replace(e.get("payload"));
return e.on("change:payload",r),()=>{n.stop(),e.off("change:payload",r),o.destroy()}}var rs={render:ht};return Ln(ss);})();
export const { attentionAt, contributionsAt, createExplorer, createSteps, decisionAt, decode, displacementAt, interpolate, layerVoxel, mount, mountAll, openPayload, render, signed, warpedAt } = moeregView;
export default moeregView.default;
