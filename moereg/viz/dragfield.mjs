// Built by make bundle from moereg/viz/js; sources b68dc42ba3f1370ed56e7dbae61f468f41f9040f589d8f5268d434ee551f462d, lines below 89497d109e35287b7def277c6dd31b06fb87e5ee81773ede5e4debc411a1f826
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
var moeregView=(()=>{var _e=Object.defineProperty;var $t=Object.getOwnPropertyDescriptor;var kt=Object.getOwnPropertyNames;var Mt=Object.prototype.hasOwnProperty;var St=(t,e)=>{for(var n in e)_e(t,n,{get:e[n],enumerable:!0})},Tt=(t,e,n,o)=>{if(e&&typeof e=="object"||typeof e=="func\
tion")for(let _ of kt(e))!Mt.call(t,_)&&_!==n&&_e(t,_,{get:()=>e[_],enumerable:!(o=$t(e,_))||o.enumerable});return t};var Ct=t=>Tt(_e({},"__esModule",{value:!0}),t);var tn={};St(tn,{bumps:()=>be,createDragField:()=>ne,default:()=>en,determinants:()=>we,exponentiate:()=>xe,render:()=>oe,
sample:()=>R});var N=(t,e,n)=>Math.min(Math.max(t,e),n),j=(t,e)=>t===e||JSON.stringify(t)===JSON.stringify(e);var Pt=50;function Me(t,{current:e,apply:n}){let o=Object.keys(e()),[_,r,s]=[e(),null,!1],i=()=>{clearTimeout(r),[r,s]=[
null,!0];let f=e();for(let c of o)j(_[c],f[c])||t.set(c,f[c]);_=f,t.save_changes(),s=!1},u=()=>{s||(r!==null&&i(),s=!0,n(
f=>t.get(f)),_=e(),s=!1)};for(let f of o)t.on(`change:${f}`,u);return{changed(){s||(r??=setTimeout(i,Pt))},stop(){clearTimeout(
r);for(let f of o)t.off(`change:${f}`,u)}}}var At={ArrowUp:["row",-1],ArrowDown:["row",1],ArrowLeft:["column",-1],ArrowRight:["column",1],PageUp:["normal",1],PageDown:[
"normal",-1],Home:["home",0]};function Se(t,{shift:e}){return n=>{let[o,_]=At[n.key]??[];!o||t(o,_*(n.shiftKey?e:1))===!1||
(n.preventDefault(),n.stopPropagation())}}function Te(t,e){return[(e.clientY-t.top)/t.height,(e.clientX-t.left)/t.width]}function Ce({ondrag:t,onpress:e,onhover:n,
onleave:o}){return{onpointerdown:_=>{_.button||(_.currentTarget.setPointerCapture(_.pointerId),e?.(_))},onpointermove:_=>{
_.currentTarget.hasPointerCapture(_.pointerId)?t(_):_.pointerType==="mouse"&&n?.(_)},onpointerleave:_=>o?.(_)}}function Pe(t){let e=new Set;return{get state(){return t},set(n){let o=Object.entries(n).filter(([r,s])=>!j(t[r],s));if(!o.
length)return;t={...t,...Object.fromEntries(o)};let _=new Set(o.map(([r])=>r));for(let r of[...e])r(t,_)},subscribe(n){return e.
add(n),()=>e.delete(n)}}}var De=function(t,e,n,o){var _;e[0]=0;for(var r=1;r<e.length;r++){var s=e[r++],i=e[r]?(e[0]|=s?1:2,n[e[r++]]):e[++r];s===
3?o[0]=i:s===4?o[1]=Object.assign(o[1]||{},i):s===5?(o[1]=o[1]||{})[e[++r]]=i:s===6?o[1][e[++r]]+=i+"":s?(_=t.apply(i,De(
t,i,n,["",null])),o.push(_),i[0]?e[0]|=2:(e[r-2]=0,e[r]=_)):o.push(i)}return o},Ae=new Map;function Ee(t){var e=Ae.get(this);
return e||(e=new Map,Ae.set(this,e)),(e=De(this,e.get(t)||(e.set(t,e=(function(n){for(var o,_,r=1,s="",i="",u=[0],f=function(l){
r===1&&(l||(s=s.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?u.push(0,l,s):r===3&&(l||s)?(u.push(3,l,s),r=2):r===2&&s==="..."&&l?
u.push(4,l,0):r===2&&s&&!l?u.push(5,0,!0,s):r>=5&&((s||!l&&r===5)&&(u.push(r,0,s,_),r=6),l&&(u.push(r,l,0,_),r=6)),s=""},
c=0;c<n.length;c++){c&&(r===1&&f(),f(c));for(var p=0;p<n[c].length;p++)o=n[c][p],r===1?o==="<"?(f(),u=[u],r=3):s+=o:r===
4?s==="--"&&o===">"?(r=1,s=""):s=o+s[0]:i?o===i?i="":s+=o:o==='"'||o==="'"?i=o:o===">"?(f(),r=1):r&&(o==="="?(r=5,_=s,s=
""):o==="/"&&(r<5||n[c][p+1]===">")?(f(),r===3&&(u=u[0]),r=u,(u=u[0]).push(2,0,r),r=0):o===" "||o==="	"||o===`
`||o==="\r"?(f(),r=2):s+=o),r===3&&s==="!--"&&(r=4,u=u[0])}return f(),u})(t)),e),arguments,[])).length>1?e:e[0]}var y,He,Dt,C,se,J,Ue,V,Oe,ae,ie,Et,U=Symbol.for("pv"),G={},K=[],Ft=/^m(i|n|o|s|text|space)$/,ce=Array.isArray,ue=K.slice,
F=Object.assign;function E(t){t&&t.parentNode&&t.remove()}function We(t,e,n){var o,_,r,s={},i=arguments.length;for(r in e)
r=="key"?o=e[r]:r=="ref"&&typeof t!="function"?_=e[r]:s[r]=e[r];return i>2&&(s.children=i>3?ue.call(arguments,2):n),H(t,
s,o,_,null)}function H(t,e,n,o,_){var r={type:t,props:e,key:n,ref:o,__k:null,__:null,__b:0,__e:null,__c:null,constructor:U,__v:_||++He,
__i:-1,__u:0};return!_&&y.vnode&&y.vnode(r),r}function X(t){return t.children}function q(t,e){this.props=t,this.context=e,this.__g=0}function P(t,e){if(e==null)return t.
__&&P(t.__,t.__i+1);for(var n;e<t.__k.length;e++)if((n=t.__k[e])&&n.__e)return n.__e;return typeof t.type!="function"||t.
props.__P?null:P(t)}function Nt(t){var e,n=t.__v,o=n.__e,_=[],r=[],s=t.__P;s&&((e=F({constructor:U},n)).__v=n.__v+1,y.vnode&&
y.vnode(e),fe(s,e,n,t.__n,s.namespaceURI,32&n.__u?[o]:null,_,o||P(n),32&n.__u,r),e.__v=n.__v,e.__.__k[e.__i]=e,Ve(_,e,r),
n.__=n.__e=null,e.__e!=o&&Le(e))}function Le(t){if((t=t.__)&&t.__c&&!t.props.__P)return t.__e=null,t.__k.some(function(e){
return e&&(t.__e=e.__e)}),Le(t)}function Fe(t){(8&t.__g||(t.__g|=8,C.push(t),J++))&&se==y.debounceRendering||((se=y.debounceRendering)||
queueMicrotask)(Re)}function Re(){try{for(var t,e=1;C.length;)C.length>e&&C.sort(Ue),t=C.shift(),e=C.length,8&t.__g&&Nt(
t)}finally{(J=C.length)&&(se||queueMicrotask)(Re)}}function Ie(t,e,n,o,_,r,s,i,u,f,c){var p,l,a,h,m,d,v=o.__k||K,g=e.length;
for(u=Ht(n,e,v,u,g),p=0;p<g;p++)(a=n.__k[p])!=null&&(l=~a.__i&&v[a.__i]||G,a.__i=p,d=fe(t,a,l,_,r,s,i,u,f,c),h=a.__e,(l.
ref!=a.ref||8&l.__u)&&(l.ref&&le(l.ref,null,a,l),a.ref&&c.push(a.ref,a.__c||h,a)),m=m||h,4&a.__u?(u=je(a,u,t,!l.__v),l.__e&&
(l.__e=null)):typeof a.type=="function"&&d!==void 0?u=d:h&&(u=h.nextSibling),a.__u&=-21);return n.__e=m,u}function Ht(t,e,n,o,_){
var r,s,i,u,f,c,p,l,a,h=n.length,m=h,d=0,v=0,g=t.__k=Array(_);for(r=0;r<_;r++)(s=e[r])!=null&&typeof s!="boolean"&&typeof s!=
"function"?(typeof s!="object"||s.constructor===String?s=g[r]=H(null,s):ce(s)?s=g[r]=H(X,{children:s}):s.constructor===U&&
s.__b?s=g[r]=H(s.type,s.props,s.key,s.ref,s.__v):g[r]=s,u=r+d,s.__=t,s.__b=t.__b+1,i=null,~(f=s.__i=Ut(s,n,u,m))&&(m--,(i=
n[f])&&(i.__u|=2)),i&&i.__v?(s.__u|=16,f==u-1?d--:f==u+1?d++:f!=u&&(f>u?d--:d++,v=1)):(~f||(_>h?d--:_<h&&d++),typeof s.type!=
"function"&&(s.__u|=4))):g[r]=null;if(v){for(c=[],p=[],r=0;r<_;r++)if((s=g[r])&&16&s.__u){for(d=0,l=c.length;d<l;)c[a=d+
l>>1]<s.__i?d=a+1:l=a;c[d]=s.__i,p[r]=d+1}for(d=c.length;r--;)p[r]&&(p[r]==d?d--:g[r].__u|=4)}if(m)for(r=0;r<h;r++)!(i=n[r])||
2&i.__u||(i.__e==o&&(o=P(i)),pe(i,i));return o}function je(t,e,n,o){var _,r,s,i;if(typeof t.type=="function"){if(t.props.
__P)return e;if(_=t.__k)for(r=0;r<_.length;r++)_[r]&&(_[r].__=t,e=je(_[r],e,n,!1));return e}for(e&&!e.parentNode&&(e=P(t))&&
!e.parentNode&&(e=null),s=t.__e,i=e;i&&i.nodeType==8;)i=i.nextSibling;for(s!=i&&(!o&&n.moveBefore&&s.parentNode?n.moveBefore(
s,e):n.insertBefore(s,e||null)),e=s;(e=e&&e.nextSibling)&&e.nodeType==8&&!e.data.startsWith("$s"););return e}function Ut(t,e,n,o){var _,r=t.key,s=t.type,i=e[n],u=i&&!(2&i.__u);if(i===null&&r==null||u&&r==i.key&&s==i.type)return n;
if(o>(u?1:0)){for(_=n-1;_>=0;_--)if((i=e[_])&&!(2&i.__u)&&r==i.key&&s==i.type)return _;for(_=n+1;_<e.length;_++)if((i=e[_])&&
!(2&i.__u)&&r==i.key&&s==i.type)return _}return-1}function Ne(t,e,n){n==null&&(n=""),e[0]=="-"?t.setProperty(e,n):t[e]=n}
function B(t,e,n,o,_){var r,s;if(e=="style")if(typeof n=="string")t.style.cssText=n;else{if(typeof o=="string"&&(t.style.
cssText=o=""),o)for(e in o)n&&e in n||Ne(t.style,e);if(n)for(e in n)o&&n[e]==o[e]||Ne(t.style,e,n[e])}else if(e[0]=="o"&&
e[1]=="n")typeof n!="function"&&(n=null),typeof o!="function"&&(o=null),(t.__e||(t.__e={}))[e]=n,n&&o||(s=ie[e]||(ie[e]=
Ot(e)),(t.__a||(t.__a={}))[e]=ae,r=e!=(e=e.replace(Oe,"$1")),(e=e.slice(2))[0]<"a"&&(e=e.toLowerCase()),n?t.addEventListener(
e,s,r):t.removeEventListener(e,s,r));else{if(_=="http://www.w3.org/2000/svg")e=e.replace(/xlink(H|:h)/,"h").replace(/sName$/,
"s");else if(e!="width"&&e!="height"&&e!="href"&&e!="list"&&e!="form"&&e!="tabIndex"&&e!="download"&&e!="rowSpan"&&e!="c\
olSpan"&&e!="role"&&e!="popover"&&e in t)try{return void(t[e]=n??"")}catch{}if(typeof n=="function")return;n==null||n===
!1&&e[4]!="-"?t.removeAttribute(e):t.setAttribute(e,e=="popover"&&n==1?"":n)}}function Ot(t){return function(e){var n=this.
__e;if(n){if(n=n[t],e[V]==null)e[V]=ae++;else if(e[V]<this.__a[t])return;return n(y.event?y.event(e):e)}}}function fe(t,e,n,o,_,r,s,i,u,f){
var c,p,l,a,h,m,d,v,g,$,b,re,$e,I,A,ke,T,D,M=e.type;if(e.constructor!==U)return null;128&n.__u&&(u=32&n.__u,c=n.__c.__z)&&
(e.__u|=u,p=r=[],c.nodeType==8?i=z(c,r):r.push(c),i=r[0]||i),(c=y.__b)&&c(e);e:if(typeof M=="function"){l=s.length;try{if(v=
e.props,g=(c=M.prototype)&&c.render,$=(c=M.contextType)&&o[c.__c],b=c?$?$.props.value:c.__:o,(a=n.__c)?(e.__c=a,2&a.__g&&
(a.__g|=1)):(g?e.__c=a=new M(v,b):(e.__c=a=new q(v,b),a.constructor=M,a.render=Lt),$&&$.sub(a),a.state||(a.state={}),a.__n=
o,a.__g|=8,a.__h=[],a.__k=[]),g&&(a.__s||(a.__s=a.state),M.getDerivedStateFromProps&&(a.__s==a.state&&(a.__s=F({},a.__s)),
F(a.__s,M.getDerivedStateFromProps(v,a.__s)))),h=a.props,m=a.state,a.__v=e,n.__c){if(v!==h&&g&&!M.getDerivedStateFromProps&&
a.componentWillReceiveProps&&a.componentWillReceiveProps(v,b),e.__v==n.__v&&!(8&a.__g)||!(4&a.__g)&&a.shouldComponentUpdate&&
a.shouldComponentUpdate(v,a.__s,b)===!1){e.__v!=n.__v&&(a.props=v,a.state=a.__s,a.__g&=-9),e.__e=n.__e,e.__k=n.__k,e.__k.
some(function(k){k&&(k.__=e)}),K.push.apply(a.__h,a.__k),a.__k=[],a.__h.length&&s.push(a),i=P(n);break e}a.componentWillUpdate&&
a.componentWillUpdate(v,a.__s,b),g&&a.componentDidUpdate&&a.__h.push(function(){a.componentDidUpdate(h,m,d)})}else g&&!M.
getDerivedStateFromProps&&a.componentWillMount&&a.componentWillMount(),g&&a.componentDidMount&&a.__h.push(a.componentDidMount);
a.context=b,a.props=v,a.__P=t,a.__g&=-5,re=y.__r,$e=g?25:0;do a.__g&=-9,re&&re(e),c=a.render(a.props,a.state=a.__s,a.context);while(8&
a.__g&&++$e<25);g&&(K.push.apply(a.__h,a.__k),a.__k=[]),a.state=a.__s,a.getChildContext&&(o=F({},o,a.getChildContext())),
g&&n.__c&&a.getSnapshotBeforeUpdate&&(d=a.getSnapshotBeforeUpdate(h,m)),I=c&&c.type===X&&c.key==null?c.props.children:c,
v.__P&&(c=i,_=(t=v.__P).namespaceURI,u=r=null,n.props&&n.props.__P!=t&&(n.__k.some(function(k){k&&pe(k,k)}),n.__k=null),
i=n.__k?P(n,0):null),i=Ie(t,ce(I)?I:[I],e,n,o,_,r,s,i,u,f),v.__P&&(e.__e=null,i=c),e.__u&=-161,p&&p.some(E),a.__h.length&&
s.push(a),1&a.__g&&(a.__g&=-4)}catch(k){if(s.length=l,e.__v=null,u||r)if(k&&k.then){if(e.__u|=128|u,r){for(~(T=r.indexOf(
i||void 0))||(T=r.length);(D=r[T-1])&&D.nodeType==8;)T--;for(;T<r.length;T++)if(D=r[T])if(r[T]=null,A){if(D==ke)break}else{
if(D.nodeType!=8)break;D.data.startsWith("$s")&&(ke=z(A=D))}}if(!A){for(;i&&i.nodeType==8&&i.nextSibling;)i=i.nextSibling;
A=i}(c=z(A=e.__c.__z||(e.__c.__z=A)))?(e.__e=A,i=c):e.__e=i,i=i&&i.nextSibling}else r&&r.some(E);else e.__e=n.__e;e.__k||
(e.__k=n.__k||[]),k&&k.then||Be(e),y.__e(k,e,n)}}else i=e.__e=Wt(n.__e,e,n,o,_,r,s,u,f,t);return(c=y.diffed)&&c(e),i}function z(t,e){
if(t&&t.nodeType==8&&t.data.startsWith("$s"))for(var n=1;t=t.nextSibling;){if(t.nodeType==8){if(t.data.startsWith("$s"))
n++;else if(t.data.startsWith("/$s")&&!--n)return t}e&&e.push(t)}}function Be(t){t&&(t.__c&&(t.__c.__g|=4),t.__k&&t.__k.
some(Be))}function Ve(t,e,n){for(var o=0;o<n.length;)le(n[o++],n[o++],n[o++]);y.__c&&y.__c(e,t),t.some(function(_){try{t=
_.__h,_.__h=[],t.some(function(r){r.call(_)})}catch(r){y.__e(r,_.__v)}})}function Wt(t,e,n,o,_,r,s,i,u,f){var c,p,l,a,h,
m,d,v,g=n.props||G,$=e.props,b=e.type;if(b=="svg"?_="http://www.w3.org/2000/svg":b=="math"?_="http://www.w3.org/1998/Mat\
h/MathML":_||(_="http://www.w3.org/1999/xhtml"),r){for(c=0;c<r.length;c++)if((h=r[c])&&(b?h.localName==b:h.nodeType==3)){
t=h,r[c]=null;break}}if(!t){if(v=f.ownerDocument||document,!b)return v.createTextNode($);t=v.createElementNS(_,b,$.is?$:
f),i&&(y.__m&&y.__m(e,r),i=!1),r=null}if(b){if(f=b=="template"&&t.content||t,r=b=="textarea"&&$.defaultValue!=null?null:
r&&ue.call(f.childNodes),!i&&r)for(g={},c=0;c<t.attributes.length;c++)g[(h=t.attributes[c]).name]=h.value;for(c in g)h=g[c],
c=="dangerouslySetInnerHTML"?l=h:c=="children"||c in $||c=="value"&&"defaultValue"in $||c=="checked"&&"defaultChecked"in
$||B(t,c,null,h,_);for(c in $)h=$[c],c=="children"?a=h:c=="dangerouslySetInnerHTML"?p=h:c=="value"?m=h:c=="checked"?d=h:
i&&typeof h!="function"||g[c]===h||B(t,c,h,g[c],_);p?(i||l&&(p.__html==l.__html||p.__html==t.textContent)||(t.textContent=
p.__html),e.__k=[]):(l&&(t.textContent=""),(b=="foreignObject"||_=="http://www.w3.org/1998/Math/MathML"&&Ft.test(b))&&(_=
"http://www.w3.org/1999/xhtml"),Ie(f,ce(a)?a:[a],e,n,o,_,r,s,r?r[0]:n.__k&&P(n,0),i,u),r&&r.some(E)),i&&b!="textarea"||(c=
"value",b=="progress"&&m==null?t.removeAttribute(c):m==null||m===t[c]&&(b!="progress"||m)||B(t,c,m,g[c],_),c="checked",d!=
null&&d!=t[c]&&B(t,c,d,g[c],_))}else g===$||i&&t.data==$||(t.data=$);return t}function le(t,e,n,o){try{typeof t=="functi\
on"?e?e.__x=t(e)||1:o&&(o=o.__c||o.__e)&&(e=o.__x)&&(o.__x=null,typeof e=="function"?e():t(null)):t.current=e}catch(_){y.
__e(_,n)}}function pe(t,e,n){var o,_,r,s;if(y.unmount&&y.unmount(t),!(o=t.ref)||o.current&&o.current!=t.__e||le(o,null,e,
t),o=t.__c){if(o.componentWillUnmount)try{o.componentWillUnmount()}catch(i){y.__e(i,e)}o.__P=o.__n=null}if(o=t.__k)for(s=
0;s<o.length;s++)o[s]&&pe(o[s],e,typeof t.type!="function"||n&&!t.props.__P);!n&&(o=t.__c)&&(o=o.__z)&&(_=z(o,r=[]))&&(o==
t.__e&&r.some(E),E(_),E(o)),n||E(t.__e),t.__e=t.__c=t.__=null}function Lt(t,e,n){return this.constructor(t,n)}function Q(t,e){
var n,o,_,r;y.__&&y.__(t,e),e.nodeType==9&&(e=e.documentElement),o=(n=t&&32&t.__u)?null:e.__k,e.__k=H(X,{children:[t]}),
_=[],r=[],fe(e,e.__k,o||G,G,e.namespaceURI,o?null:e.firstChild?ue.call(e.childNodes):null,_,o?o.__e:e.firstChild,n,r),Ve(
_,e.__k,r),e.__k.props.children=null}y={__e:function(t,e,n,o){for(var _,r,s;e=e.__;)if((_=e.__c)&&!(1&_.__g)){_.__g|=4;try{if((s=(r=_.constructor)&&r.getDerivedStateFromError)&&
_.setState(r.getDerivedStateFromError(t)),_.componentDidCatch&&(_.componentDidCatch(t,o||{}),s=1),s&&8&_.__g)return void(_.
__g|=2)}catch(i){t=i}}throw J=0,t}},He=0,Dt=function(t){return t!=null&&t.constructor===U},q.prototype.setState=function(t,e){
var n=this.__s;n&&n!=this.state||(n=this.__s=F({},this.state)),typeof t=="function"&&(t=t(F({},n),this.props)),t&&(F(n,t),
this.__v&&(e&&this.__k.push(e),Fe(this)))},q.prototype.forceUpdate=function(t){this.__v&&(this.__g|=4,t&&this.__h.push(t),
Fe(this))},q.prototype.render=X,C=[],J=0,Ue=function(t,e){return t.__v.__b-e.__v.__b},V=Symbol(),Oe=/(PointerCapture)$|Capture$/i,
ae=0,ie={},Et=0;var W,w,he,qe,me=Object.is,Y=0,et=[],de=[],x=y,ze=x.__b,Je=x.__r,Ge=x.diffed,Ke=x.__c,Xe=x.unmount,Qe=x.__;function ve(t,e){
x.__h&&x.__h(w,t,Y||e),Y=0;var n=w.__H||(w.__H={__:[],__h:[]});return t>=n.__.length&&n.__.push({}),n.__[t]}function tt(t){
return Y=1,Rt(ot,t)}function Rt(t,e,n){var o=ve(W++,2);if(o.t=t,!o.__c&&(o.__=[n?n(e):ot(void 0,e),function(r){var s=(o.
__N||o.__)[0],i=o.t(s,r);me(s,i)||(o.__N=[i,o.__[1]],o.__c.setState({}))}],o.__c=w,!w.__f)){w.__f=!0;var _=w.shouldComponentUpdate;
w.shouldComponentUpdate=function(r,s,i){var u=this.__H;if(!u)return!0;var f=!1,c=this.props!=r;if(u.__.some(function(l){
l.__N&&(f=!0,me(l.__[0],l.__N[0])||(c=!0))}),_){var p=_.call(this,r,s,i);return f?p||c:p}return!f||c}}return o.__}function Z(t,e){var n=ve(W++,4);!x.__s&&nt(n.__H,e)&&(n.__P=!1,n.__=t,n.u=e,w.__h.push(n))}function ee(t){return Y=5,L(function(){
return{current:t}},[])}function L(t,e){var n=ve(W++,7);return nt(n.__H,e)&&(n.__=t(),n.__H=e),n.__}function It(){var t;do{for(;t=de.shift();)try{O(t)}catch(n){x.__e(n,{__:(t=t.__P)&&t.__v})}for(;t=et.shift();){var e=t.__H;
if(t.__P&&e)try{e.__h.some(O),e.__h.some(ge),e.__h=[]}catch(n){e.__h=[],x.__e(n,t.__v)}}}while(de.length)}x.__b=function(t){
w=null,ze&&ze(t)},x.__=function(t,e){t&&e.__k&&e.__k.__m&&(t.__m=e.__k.__m),Qe&&Qe(t,e)},x.__r=function(t){Je&&Je(t),W=0;
var e=(w=t.__c).__H;e&&(he==w?w.__h=[]:(e.__h.some(O),e.__h.some(ge),W=0),e.__h=[],e.__.some(function(n){n.__N&&(n.__=n.
__N),n.u=n.__N=void 0})),he=w},x.diffed=function(t){Ge&&Ge(t);var e=t.__c;e&&e.__H&&(e.__H.__h.length&&Ze(et.push(e)),e.
__H.__.some(function(n){n.u&&(n.__H=n.u)})),he=w=null},x.__c=function(t,e){e.some(function(n){try{n.__h.some(O),n.__h=n.
__h.filter(function(o){return!o.__||ge(o)})}catch(o){n.__h=[function(){throw o}]}}),Ke&&Ke(t,e)},x.unmount=function(t){Xe&&
Xe(t);var e,n,o=t.__c;o&&o.__H&&(o.__H.__.some(function(_){try{if(_.__P&&_.__c){if(n===void 0){for(n=t.__;n&&(!n.__c||!n.
__c.__P);)n=n.__;n=n&&n.__c}_.__P=n,Ze(de.push(_))}else O(_)}catch(r){e=r}}),o.__H=void 0,e&&x.__e(e,o.__v))};var Ye=typeof requestAnimationFrame==
"function";function jt(t){var e,n=function(){clearTimeout(o),Ye&&cancelAnimationFrame(e),setTimeout(t)},o=setTimeout(n,35);
Ye&&(e=requestAnimationFrame(n))}function Ze(t){t!=1&&qe==x.requestAnimationFrame||((qe=x.requestAnimationFrame)||jt)(It)}
function O(t){var e=w,n=t.__c;typeof n=="function"&&(t.__c=void 0,n()),w=e}function ge(t){var e=w;t.__c=t.__(),w=e}function nt(t,e){
return!t||t.length!=e.length||e.some(function(n,o){return!me(n,t[o])})}function ot(t,e){return typeof e=="function"?e(t):
e}function Bt(t,e,n){return t==="dark"||t==="light"?t:(e?e==="false":n)?"dark":"light"}var rt=()=>matchMedia("(prefers-col\
or-scheme: dark)"),ye=()=>Bt(document.documentElement.dataset.theme,document.body.dataset.jpThemeLight,rt().matches);function _t(t){
let[e,n]=[rt(),()=>t(ye())];e.addEventListener("change",n);let o=new MutationObserver(n);for(let _ of[document.documentElement,
document.body])o.observe(_,{attributes:!0,attributeFilter:["data-theme","data-jp-theme-light"]});return()=>{e.removeEventListener(
"change",n),o.disconnect()}}var S=Ee.bind(We);function st(t,e){if(e.moeregShown)return Q(t,e);let n=[...e.childNodes];e.replaceChildren();try{Q(t,e),
e.moeregShown=!0}catch(o){throw e.replaceChildren(...n),o}}function it(t){Q(null,t),t.moeregShown=!1}var Vt=0,at=t=>L(()=>`${t}-${++Vt}`,[]);function ct(){let[t,e]=tt(ye);return Z(()=>_t(e),[]),t}var ut=t=>Uint8Array.from(atob(t),e=>e.charCodeAt(0));function be(t,e,n,o){let[_,r]=t,s=[new Float64Array(_*r),new Float64Array(_*r)];return e.forEach(([i,u],f)=>{for(let c=0,
p=0;p<_;p++)for(let l=0;l<r;l++,c++){let a=Math.exp(-((p-i)**2+(l-u)**2)/(2*o*o));s[0][c]+=n[f][0]*a,s[1][c]+=n[f][1]*a}}),
s}function R(t,e,n){let[o,_]=e,r=new Float64Array(o*_);for(let s=0,i=0;i<o;i++)for(let u=0;u<_;u++,s++){let f=N(i+n[0][s],
0,o-1),c=N(u+n[1][s],0,_-1),p=Math.min(Math.floor(f),o-2),l=Math.min(Math.floor(c),_-2),[a,h]=[f-p,c-l],m=p*_+l;r[s]=(1-
a)*((1-h)*t[m]+h*t[m+1])+a*((1-h)*t[m+_]+h*t[m+_+1])}return r}function xe(t,e,n=7){let o=t.map(_=>_.map(r=>r/2**n));for(let _=0;_<
n;_++){let r=o.map(s=>R(s,e,o));o=o.map((s,i)=>s.map((u,f)=>u+r[i][f]))}return o}function we(t,e){let[n,o]=e,_=(r,s,i,u,f)=>{
let c=i>0?1:0,p=i<u-1?1:0;return(r[s+p*f]-r[s-c*f])/(c+p)};return Float64Array.from(t[0],(r,s)=>{let[i,u]=[Math.floor(s/
o),s%o],f=t.map(p=>_(p,s,i,n,o)),c=t.map(p=>_(p,s,u,o,1));return(1+f[0])*(1+c[1])-f[1]*c[0]})}function ft({shape:t,centres:e},{
moves:n,sigma:o,reading:_}){let r=be(t,e,n,o),s=_==="velocity"?xe(r,t):r,i=we(s,t),u=[];return i.forEach((f,c)=>f<=0&&u.
push(c)),{u:s,folded:u,least:i.reduce((f,c)=>Math.min(f,c),1/0)}}var lt=(t,e,n)=>n.map((o,_)=>N(e[_]+o,0,t[_]-1)-e[_]);var[ht,qt,zt]=["#d5008fb3","#f0b04a","#ffffff"],te=t=>Math.max(4,Math.round(640/Math.max(...t)));function mt(t,{shape:e,
centres:n,image:o},{u:_,folded:r},s){let[i,u]=e,f=te(e),c=(a,h)=>{let m=a*u+h;return[(h+_[1][m]+.5)*f,(a+_[0][m]+.5)*f]};
gt(t,o,u,f),t.fillStyle=ht;for(let a of r)pt(t,Jt(a,e,c)),t.fill();let p=a=>(pt(t,a),t.stroke());Object.assign(t,{strokeStyle:qt,
lineWidth:1.5});for(let a=0;a<i;a+=2)p(Array.from({length:u},(h,m)=>c(a,m)));for(let a=0;a<u;a+=2)p(Array.from({length:i},
(h,m)=>c(m,a)));Object.assign(t,{strokeStyle:zt,lineWidth:3});let l=(a,h)=>[(h+.5)*f,(a+.5)*f];n.forEach(([a,h],m)=>p([l(
a,h),l(a+s[m][0],h+s[m][1])]))}function dt(t,{shape:e,image:n},{u:o,folded:_}){let[,r]=e,s=te(e);gt(t,R(n,e,o),r,s),t.fillStyle=
ht;for(let i of _)t.fillRect(i%r*s,Math.floor(i/r)*s,s,s)}function Jt(t,[e,n],o){let[_,r]=[Math.floor(t/n),t%n],[s,i]=[Math.
max(_-1,0),Math.min(_+1,e-1)],[u,f]=[Math.max(r-1,0),Math.min(r+1,n-1)];return[o(s,r),o(_,f),o(i,r),o(_,u)]}function gt(t,e,n,o){
for(let _=0;_<e.length;_++){let r=Math.round(255*e[_]);t.fillStyle=`rgb(${r} ${r} ${r})`,t.fillRect(_%n*o,Math.floor(_/n)*
o,o,o)}}function pt(t,e){t.beginPath(),e.forEach(([n,o],_)=>_?t.lineTo(n,o):t.moveTo(n,o))}var Gt="Drag a handle, or focus it and use the arrow keys (Shift: a quarter of a voxel, Home: back to its centre).",vt={
moving:"Moving image; over it a grid that shows where each voxel of the fixed grid looks.",warped:"Warped image; folded \
voxels are coloured."},yt=t=>t.replace("-","\u2212");function Kt({given:t,start:e,store:n,state:o}){let{moves:_,sigma:r,
reading:s}=o,i=at("mdf"),u=L(()=>ft(t,o),[_,r,s]),{least:f,folded:c}=u,p=t.shape[0]*t.shape[1],l=c.length?`${c.length} o\
f ${p} voxels folded.`:"No voxel folded.";return S`
    <div
      class="mdf"
      role="region"
      aria-label="A displacement field to drag"
      data-theme=${ct()}
      data-ready="true"
      data-least=${f}
      data-folded=${c.length}
      data-moves=${JSON.stringify(_)}
    >
      <${Xt} id=${i} start=${e} store=${n} state=${o} />
      <div class="mdf-panels">
        <figure>
          <figcaption>moving image, and where x + u(x) lies</figcaption>
          <${Qt} id=${i} given=${t} store=${n} field=${u} moves=${_} />
        </figure>
        <figure>
          <figcaption>warped image, moving[x + u(x)]</figcaption>
          <${bt}
            label=${vt.warped}
            shape=${t.shape}
            draw=${a=>dt(a,t,u)}
            of=${u}
          />
        </figure>
      </div>
      <output class="mdf-said" aria-live="polite">
        ${`Smallest Jacobian determinant ${yt(f.toFixed(2))}. ${l}`}
      </output>
      <p class="mdf-hint" id=${i}>${Gt}</p>
    </div>
  `}var Xt=({id:t,start:e,store:n,state:{sigma:o,reading:_}})=>S`
  <div class="mdf-tools">
    <label>
      Width σ
      <input
        type="range"
        min="2"
        max="16"
        step="0.5"
        value=${o}
        aria-label="Width of the bumps, voxels"
        oninput=${r=>n.set({sigma:Number(r.currentTarget.value)})}
      />
      <span class="mdf-number">${`${o} voxels`}</span>
    </label>
    <span role="radiogroup" aria-label="Read the bumps as">
      Read as
      ${["displacement","velocity"].map(r=>S`
          <label>
            <input
              type="radio"
              name=${`${t}-reading`}
              value=${r}
              checked=${r===_}
              onchange=${()=>n.set({reading:r})}
            />
            ${` ${r} `}
          </label>
        `)}
    </span>
    <button type="button" class="mdf-reset" onclick=${()=>n.set(e)}>Start again</button>
  </div>
`;function bt({label:t,shape:[e,n],draw:o,of:_,canvas:r}){let s=ee(),i=r??s,u=te([e,n]);return Z(()=>o(i.current.getContext(
"2d")),[_]),S`<canvas ref=${i} width=${n*u} height=${e*u} role="img" aria-label=${t} />`}function Qt({id:t,given:e,store:n,
field:o,moves:_}){let r=ee(),s=i=>mt(i,e,o,_);return S`
    <div class="mdf-stage">
      <${bt} label=${vt.moving} shape=${e.shape} draw=${s} of=${o} canvas=${r} />
      ${e.centres.map((i,u)=>S`<${Yt} key=${u} k=${u} id=${t} given=${e} store=${n} move=${_[u]} over=${r} />`)}
    </div>
  `}function Yt({k:t,id:e,given:n,store:o,move:[_,r],over:s}){let{shape:i,centres:u}=n,[f,c]=u[t],p=(...m)=>{let d=lt(i,
u[t],m);o.set({moves:o.state.moves.map((v,g)=>g===t?d:v)})},l=m=>{let[d,v]=Te(s.current.getBoundingClientRect(),m);p(d*i[0]-
.5-f,v*i[1]-.5-c)},a=(m,d)=>{if(m==="normal")return!1;p(...{row:[_+d,r],column:[_,r+d],home:[0,0]}[m])},h=m=>yt(m.toFixed(
1));return S`
    <button
      type="button"
      class="mdf-handle"
      aria-describedby=${e}
      aria-label=${`Handle ${t+1}: ${h(_)} down, ${h(r)} right, in voxels`}
      style=${{left:`${(c+r+.5)/i[1]*100}%`,top:`${(f+_+.5)/i[0]*100}%`}}
      onkeydown=${Se(a,{shift:.25})}
      ...${Ce({ondrag:l})}
    >
      ${t+1}
    </button>
  `}function ne(t,{moves:e,sigma:n,reading:o,..._}){let r={..._,image:Float64Array.from(ut(_.image),c=>c/255)},s={moves:e,
sigma:n,reading:o},i=Pe(s),u=()=>st(S`<${Kt} given=${r} start=${s} store=${i} state=${i.state} />`,t);u();let f=i.subscribe(
u);return{store:i,destroy(){f(),it(t)}}}var xt=["moves","sigma","reading"],Zt=["shape","centres","image"],wt=(t,e)=>Object.fromEntries(t.map(n=>[n,e(n)]));function oe({
model:t,el:e}){let n=ne(e,wt([...Zt,...xt],_=>t.get(_))),o=Me(t,{current:()=>n.store.state,apply:_=>n.store.set(wt(xt,_))});
return n.store.subscribe(o.changed),()=>{o.stop(),n.destroy()}}var en={render:oe};return Ct(tn);})();
export const { bumps, createDragField, determinants, exponentiate, render, sample } = moeregView;
export default moeregView.default;
